package exchange

import "unsafe"

// The memory of Own: what the fields take that an edge adds to a request, as
// much as is worth keeping for further exchanges, and what is not kept.
const (
	ownOnce    = 128
	ownBlock   = 512
	ownLargest = 4 << 10
)

// Own copies b into memory of the list and returns it as a string, for what is
// made anew for every exchange: an id, an address, a traceparent. It need not
// become a field's value. The string lives as long as a view into a read buffer
// does: until Reset.
func (f *Fields) Own(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(f.own)-len(f.own) < len(b) {
		// Never grown in place: strings that are handed out keep the old block.
		size := ownOnce
		if f.recycle {
			size = ownBlock
		}
		f.own = make([]byte, 0, max(size, len(b)))
	}
	n := len(f.own)
	f.own = append(f.own, b...)
	return unsafe.String(&f.own[n], len(b))
}

// Recycle has Reset keep the memory of Own, so that further exchanges allocate
// none. It is for engines whose strings are views anyway: with them nobody may
// read a string once the exchange is over. Without it, who reads too late, as
// net/http's transport may after a cancellation, reads what it was given.
func (f *Fields) Recycle() { f.recycle = true }

func (f *Fields) disown() {
	if !f.recycle || cap(f.own) > ownLargest {
		f.own = nil
		return
	}
	poison(f.own)
	f.own = f.own[:0]
}
