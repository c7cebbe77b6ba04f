package content

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Vary says that the answer was chosen by a request field, unless it says so
// already (RFC 9110 section 12.5.5).
func Vary(h *exchange.Fields, name string) {
	if !h.HasToken("Vary", name) && !h.HasToken("Vary", "*") {
		h.Add("Vary", name)
	}
}

// Encoded reports whether the content is in a coding that hides it. identity
// should not be sent, but is (RFC 9110 section 8.4).
func Encoded(h *exchange.Fields) bool {
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, "Content-Encoding") && f.Value != "" && !exchange.EqualFold(f.Value, "identity") {
			return true
		}
	}
	return false
}

// Changed is called when other bytes are sent than the service made: what was
// computed over its bytes goes (RFC 9530; RFC 1864 is obsolete and still sent), a
// strong validator becomes weak (RFC 9110 section 8.8.1), and parts of the
// content cannot be asked for any more.
func Changed(x *exchange.Exchange) {
	h := &x.Response.Header
	h.Filter(func(name, _ string) bool { return !ofBytes(name) })
	Weaken(h)
}

// ofBytes reports fields that are about the very bytes of the content.
func ofBytes(name string) bool {
	switch len(name) {
	case 6:
		return exchange.EqualFold(name, "Digest")
	case 11:
		return exchange.EqualFold(name, "Content-MD5") || exchange.EqualFold(name, "Repr-Digest")
	case 13:
		return exchange.EqualFold(name, "Accept-Ranges")
	case 14:
		return exchange.EqualFold(name, "Content-Digest")
	}
	return false
}

// Weaken makes the answer's entity tag a weak one.
func Weaken(h *exchange.Fields) {
	tag := h.Get("ETag")
	if tag == "" || strings.HasPrefix(tag, "W/") {
		return
	}
	var room [128]byte
	h.Set("ETag", h.Own(append(append(room[:0], "W/"...), tag...)))
}

// WeakenConfirmed does so on a 304 to a client that knows the answer by the weak
// form of its tag, because the content it holds was changed on the way.
func WeakenConfirmed(x *exchange.Exchange) {
	h := &x.Response.Header
	tag := h.Get("ETag")
	if tag == "" || strings.HasPrefix(tag, "W/") {
		return
	}
	for i := range x.Request.Header.Len() {
		f := x.Request.Header.At(i)
		if !exchange.EqualFold(f.Name, "If-None-Match") {
			continue
		}
		if at := strings.Index(f.Value, tag); at >= 2 && f.Value[at-2:at] == "W/" {
			Weaken(h)
			return
		}
	}
}

// DropRequestDigests takes off a request what was computed over content that is
// changed on its way to the service.
func DropRequestDigests(h *exchange.Fields) {
	h.Filter(func(name, _ string) bool { return !ofBytes(name) })
}
