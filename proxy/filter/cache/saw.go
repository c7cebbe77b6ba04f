package cache

import "lintel.dev/lintel/proxy/exchange"

// saw is what a request's fields hold that the cache goes by, found in one pass:
// a hit looks at nothing twice.
type saw uint8

const (
	sawControl    saw = 1 << iota // Cache-Control or Pragma
	sawRange                      // Range
	sawCondition                  // If-None-Match or If-Modified-Since
	sawForeign                    // conditions that are the service's to judge
	sawCredential                 // it says who is asking
	sawClaim                      // perhaps what a proxy in front says of it
)

func (f *cache) look(h *exchange.Fields) (s saw) {
	for i := range h.Len() {
		name := h.At(i).Name
		if len(name) < len("Range") {
			continue
		}
		switch name[0] | 0x20 {
		case 'a':
			if is(name, "Authorization") {
				s |= sawCredential
			}
		case 'c':
			switch {
			case is(name, "Cache-Control"):
				s |= sawControl
			case f.cookies && is(name, "Cookie"):
				s |= sawCredential
			}
		case 'f', 'x':
			s |= sawClaim
		case 'i':
			switch {
			case is(name, "If-None-Match"), is(name, "If-Modified-Since"):
				s |= sawCondition
			case is(name, "If-Match"), is(name, "If-Unmodified-Since"):
				s |= sawForeign
			}
		case 'p':
			if is(name, "Pragma") {
				s |= sawControl
			}
		case 'r':
			if is(name, "Range") {
				s |= sawRange
			}
		}
	}
	return s
}
