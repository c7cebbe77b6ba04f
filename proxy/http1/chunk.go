package http1

import (
	"math"

	"lintel.dev/lintel/proxy/exchange"
)

// codecError is a malformed message body.
type codecError struct{ what string }

// Error implements error.
func (e *codecError) Error() string { return "http1: " + e.what }

var (
	errChunkSize  = &codecError{"a chunk size is not 1 to 16 hexadecimal digits below 2^63 (RFC 9112 section 7.1)"}
	errChunkExt   = &codecError{"a chunk extension is malformed (RFC 9112 section 7.1.1)"}
	errChunkExts  = &codecError{"there are too many bytes of chunk extensions"}
	errChunkLine  = &codecError{"a chunk's line does not end with CRLF (RFC 9112 section 7.1)"}
	errChunkData  = &codecError{"a chunk's data is not followed by CRLF (RFC 9112 section 7.1)"}
	errTrailerTop = &codecError{"the trailer section has too many bytes or lines"}
	errTrailerEnd = &codecError{"the trailer section has a line that is no field line or does not end with CRLF"}
)

// Bounds on chunk extensions, which carry nothing for us and are dropped. They
// are within those of net/http.
const (
	maxChunkExt  = 1 << 10  // of one chunk
	maxChunkExts = 16 << 10 // of one body
)

// chunkDecoder takes a chunked body apart (RFC 9112 section 7.1). The zero
// value is at the beginning of one.
//
// White space around ";" and "=" of an extension, which the RFC's grammar knows
// as bad white space, is refused like all that only makes two readers disagree:
// no sender writes it, and net/http refuses it before the first ";" too.
type chunkDecoder struct {
	left   uint64 // bytes of the current chunk
	ext    int    // bytes of its extensions
	exts   int    // bytes of all extensions
	state  uint8
	digits uint8
	last   bool // this is the last chunk
	seen   int  // bytes of the trailer section that its end is not in
}

// States of a chunkDecoder, named by what comes next.
const (
	inSize uint8 = iota
	inName
	inNameRest
	inValue
	inValueRest
	inQuoted
	inEscaped
	afterQuoted
	inLineLF
	inData
	inDataCR
	inDataLF
	inTrailer
)

func (d *chunkDecoder) reset() { *d = chunkDecoder{} }

// remaining reports how many bytes of chunk data come next, if that is what
// comes next: then they may be read past the decoder, which is told by took.
func (d *chunkDecoder) remaining() (n int64, data bool) {
	return int64(d.left), d.state == inData
}

// took says that n bytes of chunk data were read past the decoder.
func (d *chunkDecoder) took(n int) {
	if d.left -= uint64(n); d.left == 0 {
		d.state = inDataCR
	}
}

// decode consumes src and copies the data in it to dst. It stops when src is
// used up, when there is data and dst is full, or, with done, before the
// trailer section. The error is a *codecError and final.
func (d *chunkDecoder) decode(src, dst []byte) (nsrc, ndst int, done bool, err error) {
	i := 0
	for i < len(src) {
		if d.state == inData {
			n := copy(dst[ndst:], src[i:min(uint64(len(src)), uint64(i)+d.left)])
			if n == 0 {
				return i, ndst, false, nil
			}
			i += n
			ndst += n
			d.took(n)
			continue
		}
		if d.state == inTrailer {
			break
		}
		if err := d.step(src[i]); err != nil {
			return i, ndst, false, err
		}
		i++
	}
	return i, ndst, d.state == inTrailer, nil
}

// step takes one byte of what is between the data.
func (d *chunkDecoder) step(c byte) error {
	switch d.state {
	case inSize:
		if v := hexValue[c]; v < 16 {
			if d.digits++; d.digits > 16 {
				return errChunkSize
			}
			d.left = d.left<<4 | uint64(v)
			return nil
		}
		if d.digits == 0 || d.left > math.MaxInt64 {
			return errChunkSize
		}
		d.last = d.left == 0
		switch c {
		case '\r':
			d.state = inLineLF
		case ';':
			d.state = inName
		default:
			return errChunkSize
		}
	case inLineLF:
		if c != '\n' {
			return errChunkLine
		}
		d.digits, d.ext = 0, 0
		if d.state = inData; d.last {
			d.state = inTrailer
		}
	case inDataCR:
		if c != '\r' {
			return errChunkData
		}
		d.state = inDataLF
	case inDataLF:
		if c != '\n' {
			return errChunkData
		}
		d.state = inSize
	default:
		return d.extension(c)
	}
	return nil
}

// extension takes one byte of
//
//	*( ";" token [ "=" ( token / quoted-string ) ] ) CR
//
// from behind the first ";".
func (d *chunkDecoder) extension(c byte) error {
	d.ext++
	d.exts++
	if d.ext > maxChunkExt || d.exts > maxChunkExts {
		return errChunkExts
	}
	switch d.state {
	case inQuoted:
		switch {
		case c == '"':
			d.state = afterQuoted
		case c == '\\':
			d.state = inEscaped
		case c < 0x20 && c != '\t' || c == 0x7f:
			return errChunkExt
		}
		return nil
	case inEscaped:
		d.state = inQuoted
		if c < 0x20 && c != '\t' || c == 0x7f {
			return errChunkExt
		}
		return nil
	}
	switch {
	case isTokenByte[c] && d.state != afterQuoted:
		if d.state == inName || d.state == inValue {
			d.state++ // to its rest
		}
	case c == '=' && d.state == inNameRest:
		d.state = inValue
	case c == '"' && d.state == inValue:
		d.state = inQuoted
	case d.state == inName || d.state == inValue:
		return errChunkExt // an empty name or value
	case c == ';':
		d.state = inName
	case c == '\r':
		d.state = inLineLF
	default:
		return errChunkExt
	}
	return nil
}

// hexValue is a hexadecimal digit's value, 16 for everything else.
var hexValue = func() (t [256]uint8) {
	for c := range t {
		t[c] = 16
	}
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c - '0'
	}
	for c := byte('a'); c <= 'f'; c++ {
		t[c], t[c-0x20] = c-'a'+10, c-'a'+10
	}
	return t
}()

// trailers is parseTrailer for a section that comes in pieces: what has been
// looked at is not looked at again with every byte that somebody sends.
func (d *chunkDecoder) trailers(b []byte, lim limits, into *exchange.Fields) (used int, done bool, err error) {
	if len(b) < 2 || b[0] != '\r' || b[1] != '\n' {
		end, next, bad := headEnd(b, d.seen)
		if end == 0 && !bad {
			d.seen = next
			return 0, false, nil
		} // else asking again says the same again
	}
	return parseTrailer(b, lim, into)
}

// parseTrailer reads a trailer section, up to and with its empty line, once all
// of it is in b; until then done is false and nothing is used. Fields that mean
// nothing or harm there are dropped. The error is a *codecError.
func parseTrailer(b []byte, lim limits, into *exchange.Fields) (used int, done bool, err error) {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2, true, nil
	}
	end, seen, bad := headEnd(b, 0)
	switch {
	case bad:
		return 0, false, errTrailerEnd
	case lim.bytes > 0 && seen > lim.bytes:
		return 0, false, errTrailerTop
	case end == 0:
		return 0, false, nil
	}
	b = b[:end]
	s := view(b)
	for at, lines := 0, 1; at+2 < end; lines++ {
		name, value, next, bad := fieldLine(b, s, at)
		if bad != "" {
			return 0, false, &codecError{"in the trailer section " + bad}
		}
		if lim.count > 0 && lines > lim.count {
			return 0, false, errTrailerTop
		}
		if exchange.MayTrail(name) {
			into.Add(name, value)
		}
		at = next
	}
	return end, true, nil
}
