package firewall

import (
	"io"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// CleanRequest removes what is in the set from the request's header and,
// once they arrive, from its trailers. It reports how many lines went; trailer
// lines are added to x.Removed when they are seen. What Connection nominates
// the pipe has taken off before any filter runs.
func (s *Set) CleanRequest(x *exchange.Exchange) int {
	n := s.Strip(&x.Request.Header)
	n += s.Strip(&x.Request.Trailer)
	if x.Request.Body != nil && mayHaveTrailers(x.Request.Proto, x.Request.Length) {
		x.Request.Body = &watched{ReadCloser: x.Request.Body, set: s, trailer: &x.Request.Trailer, removed: &x.Removed}
	}
	return n
}

// CleanResponse does the same for an answer. A body that is already in memory
// has no trailers to come.
func (s *Set) CleanResponse(x *exchange.Exchange) {
	s.Strip(&x.Response.Header)
	s.Strip(&x.Response.Trailer)
	if x.Response.Body == nil || !mayHaveTrailers(x.Response.Proto, x.Response.Length) {
		return
	}
	if _, ok := x.Response.Body.(*exchange.Bytes); ok {
		return
	}
	x.Response.Body = &watched{ReadCloser: x.Response.Body, set: s, trailer: &x.Response.Trailer}
}

// mayHaveTrailers: HTTP/1 has them after chunked bodies only, whose length is
// unknown (RFC 9112 section 7.1.2); HTTP/2 after any, and an answer made here,
// which has no protocol, after whatever its filter wrapped.
func mayHaveTrailers(proto string, length int64) bool {
	return length < 0 || !strings.HasPrefix(proto, "HTTP/1")
}

// watched cleans the trailers when the body has been read to its end: the
// engine has filled them by then, and whoever forwards them reads them after.
type watched struct {
	io.ReadCloser
	set     *Set
	trailer *exchange.Fields
	removed *int // nil: not counted
	ended   bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !w.ended {
		w.ended = true
		gone := w.set.Strip(w.trailer)
		if gone > 0 && w.removed != nil {
			*w.removed += gone
		}
	}
	return n, err
}

// Ready implements what exchange.Ready asks.
func (w *watched) Ready() bool { return exchange.Ready(w.ReadCloser) }

// Whole implements what exchange.Whole asks.
func (w *watched) Whole() bool { return exchange.Whole(w.ReadCloser) }

// Within implements what exchange.Within asks.
func (w *watched) Within(d time.Duration) { exchange.Within(w.ReadCloser, d) }
