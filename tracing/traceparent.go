package tracing

import "lintel.dev/lintel/proxy/exchange"

// The header fields of W3C Trace Context. They are written in lower case, as
// section 3.2.1 asks.
const (
	headerParent = "traceparent"
	headerState  = "tracestate"
)

const (
	parentLen   = 55 // 00-<32>-<16>-<2>
	flagSampled = 0x01
	flagRandom  = 0x02 // level 2, section 3.2.2.5.2
)

// parent is a parsed traceparent.
type parent struct {
	trace [16]byte
	span  [8]byte
	flags byte
}

// parseParent reads a traceparent (W3C Trace Context level 2, section 3.2).
// Version ff is refused. Of a version later than 00 the four known members are
// read and whatever follows a dash is ignored, as section 4.3 says; of its flags
// only the known bits count.
func parseParent(s string) (parent, bool) {
	var p parent
	if len(s) < parentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return p, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff {
		return p, false
	}
	if len(s) > parentLen && (version[0] == 0 || s[parentLen] != '-') {
		return p, false
	}
	if !lowerHex(p.trace[:], s[3:35]) || !lowerHex(p.span[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return p, false
	}
	if p.trace == [16]byte{} || p.span == [8]byte{} {
		return p, false
	}
	p.flags = flags[0] & (flagSampled | flagRandom)
	return p, true
}

// readParent finds the request's traceparent. Several of them count as none
// (section 4.3: start anew), for there is no telling which is meant.
func readParent(h *exchange.Fields) (parent, bool) {
	value, n := "", 0
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, headerParent) {
			value = f.Value
			n++
		}
	}
	if n != 1 {
		return parent{}, false
	}
	return parseParent(value)
}

// appendParent writes a version 00 traceparent.
func appendParent(dst []byte, t *exchange.Trace) []byte {
	var flags byte
	if t.Sampled {
		flags |= flagSampled
	}
	if t.Random {
		flags |= flagRandom
	}
	dst = append(dst, "00-"...)
	dst = appendHex(dst, t.ID[:])
	dst = append(dst, '-')
	dst = appendHex(dst, t.Span[:])
	dst = append(dst, '-', '0', '0'+flags)
	return dst
}

// lowerHex fills dst from s, two digits a byte, and refuses upper case, which
// the grammar (HEXDIGLC) does not have.
func lowerHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	var wrong byte
	for i := range dst {
		hi, lo := nibbles[s[2*i]], nibbles[s[2*i+1]]
		dst[i] = hi<<4 | lo&0xf
		wrong |= hi | lo
	}
	return wrong < 0x10
}

// nibbles are the values of lower-case hexadecimal digits, 0xff of anything else.
var nibbles = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9':
			t[c] = byte(c - '0')
		case c >= 'a' && c <= 'f':
			t[c] = byte(c - 'a' + 10)
		default:
			t[c] = 0xff
		}
	}
	return t
}()
