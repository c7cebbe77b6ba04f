package http1

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// limits bounds one head or trailer section; zero is unlimited.
type limits struct {
	bytes int // the whole section, its empty line included
	count int // field lines
}

// headEnd looks for the empty line that ends a head, all before from having
// been looked at already. With end > 0 the head is b[:end]; otherwise next is
// the from to go on with when more bytes have come, so a client that sends one
// byte at a time costs no more than one that sends all at once. bad tells what
// cannot become a head: it is refused at once, since waiting for the rest of it
// would be waiting for an end that the other side saw elsewhere.
func headEnd(b []byte, from int) (end, next int, bad bool) {
	if from == 0 && len(b) > 0 && !isTokenByte[b[0]] && b[0] != '\r' {
		return 0, 0, true // no method or version begins so: a TLS hello, mostly
	}
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, len(b), false
		}
		i += n
		if i == 0 || b[i-1] != '\r' {
			return 0, i, true
		}
		if i == 1 || b[i-2] == '\n' {
			return i + 1, i + 1, false
		}
		i++
	}
}

// skipEmptyLine tells how many bytes before a request line are to be ignored:
// one empty line at most, which old clients send after a body (RFC 9112 section
// 2.2). It is asked once per request, with two bytes at hand if the first is CR.
func skipEmptyLine(b []byte) int {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	return 0
}

// view is b as a string without a copy. It dies with the buffer.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is s for reading only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Why a field line was refused. They reach the peer as a fault's detail.
const (
	lineFolded   = "a field line is folded or begins with white space (RFC 9112 section 5.2)"
	lineSpace    = "white space stands before a field's colon (RFC 9112 section 5.1)"
	lineNameless = "a field line has no name"
	lineName     = "a field name is no token (RFC 9110 section 5.1)"
	lineControl  = "a field value holds a control byte (RFC 9110 section 5.5)"
	lineCut      = "a field line does not end with CRLF"
)

// fieldLine reads the field line that begins at b[at]; s is b's view. b ends
// with an empty line, so that line is where a caller stops. bad is "" or one of
// the reasons above.
func fieldLine(b []byte, s string, at int) (name, value string, next int, bad string) {
	i := at
	for i < len(b) && isTokenByte[b[i]] {
		i++
	}
	if i == at || i >= len(b) || b[i] != ':' {
		return "", "", i, badName(b, at, i)
	}
	name = s[at:i]
	i++
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	start := i
	for {
		i = controlByte(b, i)
		if i >= len(b) || b[i] != '\t' {
			break
		}
		i++
	}
	if i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		return name, "", i, badValue(b, i)
	}
	end := i
	for end > start && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return name, s[start:end], i + 2, ""
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controlByte returns the index of the first byte in b[i:] that is below 0x20
// or is 0x7f, or len(b). Eight bytes at a time: it sees every byte of every
// value, and the line's own CR is what it stops at.
func controlByte(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ 0x7f*ones
		if hit := ((x-0x20*ones)&^x | (del-ones)&^del) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
		i += 8
	}
	for i < len(b) && b[i] >= 0x20 && b[i] != 0x7f {
		i++
	}
	return i
}

// controlBits marks the high bit of each byte of x that is below 0x20 or is
// 0x7f. Borrows make false marks, but only above a true one: the lowest is exact.
func controlBits(x uint64) uint64 {
	del := x ^ 0x7f*ones
	return ((x-0x20*ones)&^x | (del-ones)&^del) & highs
}

// targetEnd returns the index of the first byte in b[i:] that no request target
// holds, or len(b): anything but 0x21-0x7e.
func targetEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		if hit := ((x-0x21*ones)&^x | (x + ones) | x) & highs; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
		i += 8
	}
	for i < len(b) && b[i] > 0x20 && b[i] < 0x7f {
		i++
	}
	return i
}

func badName(b []byte, at, i int) string {
	switch {
	case i < len(b) && (b[i] == ' ' || b[i] == '\t'):
		if i == at {
			return lineFolded
		}
		for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
			i++
		}
		if i < len(b) && b[i] == ':' {
			return lineSpace
		}
	case i == at && i < len(b) && b[i] == ':':
		return lineNameless
	}
	return lineName
}

func badValue(b []byte, i int) string {
	if i >= len(b) || b[i] == '\r' {
		return lineCut
	}
	return lineControl
}

// isTokenByte are the bytes of a token (RFC 9110 section 5.6.2).
var isTokenByte = func() (t [256]bool) {
	for c := 0; c < 256; c++ {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		t[c] = letter || c >= '0' && c <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return t
}()

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// isValue reports whether s may stand as a field value.
func isValue(s string) bool {
	b := bytesOf(s)
	n := len(b)
	if n < 8 {
		return isValueSlow(b)
	}
	hit := uint64(0)
	for i := 0; i < n-8; i += 8 {
		hit |= controlBits(binary.LittleEndian.Uint64(b[i:]))
	}
	// The last word overlaps the one before it: no byte is left over.
	hit |= controlBits(binary.LittleEndian.Uint64(b[n-8:]))
	return hit == 0 || isValueSlow(b)
}

// isValueSlow also knows tabs.
func isValueSlow(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// nextMember takes the first member off a comma-separated list (RFC 9110
// section 5.6.1), surrounding white space removed.
func nextMember(list string) (member, rest string, more bool) {
	for i := 0; i < len(list); i++ {
		if list[i] == ',' {
			return trimSpace(list[:i]), list[i+1:], true
		}
	}
	return trimSpace(list), "", false
}

func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
