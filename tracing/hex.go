package tracing

import "slices"

// pairs is every byte in two lower-case digits, the first in the low half: half
// the time of encoding/hex, and an exchange writes eighty bytes so.
var pairs = func() (p [256]uint16) {
	const digits = "0123456789abcdef"
	for i := range p {
		p[i] = uint16(digits[i>>4]) | uint16(digits[i&15])<<8
	}
	return p
}()

func appendHex(dst, src []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, 2*len(src))[:n+2*len(src)]
	for i, b := range src {
		p := pairs[b]
		dst[n+2*i], dst[n+2*i+1] = byte(p), byte(p>>8)
	}
	return dst
}
