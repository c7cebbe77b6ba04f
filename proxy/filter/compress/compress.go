package compress

import (
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// Filter compresses answers.
type Filter struct {
	codings  []*coding
	types    content.Types
	minSize  int64
	takeOver bool
	slots    slots
	about    string
}

// identity is the choice of no coding; others count from 1.
const identity = uint8(0)

// OnRequest settles which coding the client gets, before others change what it
// says.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	x.Keep(f.choose(h))
	if f.takeOver {
		h.Del("Accept-Encoding")
	}
	return filter.Next
}

// choose takes the coding with the largest weight, of equals the first (RFC 9110
// section 12.5.3). A client that says nothing gets none.
func (f *Filter) choose(h *exchange.Fields) uint8 {
	if h.HasToken("Cache-Control", "no-transform") {
		return identity
	}
	best, choice := 0, identity
	for i, c := range f.codings {
		if w, _ := content.CodingWeight(h, c.name); w > best {
			best, choice = w, uint8(i+1)
		}
	}
	if plain, listed := content.CodingWeight(h, "identity"); listed && plain > best {
		return identity
	}
	return choice
}

// OnResponse compresses the answer, or says that it would have for others.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	r := &x.Response
	choice, _ := x.Kept().(uint8)
	if r.Status == http.StatusNotModified {
		// A cache that it freshens takes over its Vary (RFC 9111 section 3.2), and
		// nothing here tells whether the answer it has is one that is compressed.
		if !r.Header.HasToken("Cache-Control", "no-transform") {
			content.Vary(&r.Header, "Accept-Encoding")
		}
		if choice != identity {
			content.WeakenConfirmed(x)
		}
		return
	}
	if !f.eligible(x) {
		return
	}
	content.Vary(&r.Header, "Accept-Encoding")
	if choice == identity {
		return
	}
	c := f.codings[choice-1]
	if b, whole := r.Body.(*exchange.Bytes); whole && b.Len() <= wholeSize && int64(b.Len()) == r.Length && x.Request.Method != http.MethodHead {
		if !f.whole(x, c, b) {
			return
		}
	} else {
		if r.Body != nil {
			r.Body = newBody(x, f, c)
		}
		r.Length = -1
	}
	content.Changed(x)
	r.Header.Del("Content-Encoding") // it can only be identity
	r.Header.Add("Content-Encoding", c.name)
}

// eligible reports whether the answer is one that is compressed for clients that
// like it.
func (f *Filter) eligible(x *exchange.Exchange) bool {
	r := &x.Response
	h := &r.Header
	switch {
	case r.Status < 200, r.Tunnel != nil, r.Status == http.StatusNoContent, r.Status == http.StatusResetContent,
		r.Status == http.StatusPartialContent: // its ranges count bytes of the whole
		return false
	case r.Body == nil && x.Request.Method != http.MethodHead:
		return false
	case r.Length >= 0 && (r.Length < f.minSize || r.Length == 0):
		return false
	case !f.types.Has(h.Get("Content-Type")), content.Encoded(h), h.Has("Content-Range"):
		return false
	}
	return !h.HasToken("Cache-Control", "no-transform")
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
