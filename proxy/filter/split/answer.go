package split

import (
	"net/http"
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/credential"
)

// OnResponse has a browser remember the side it was drawn.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	v := f.newcomer(x)
	if v == nil || x.Fault != nil {
		return
	}
	line := f.cfg.Sticky.Cookie + "=" + v.side.token + "; Path=/; HttpOnly; SameSite=Lax"
	if f.cfg.Sticky.TTL > 0 {
		line += "; Max-Age=" + strconv.FormatInt(int64(f.cfg.Sticky.TTL/time.Second), 10)
	}
	if x.Request.Scheme == "https" {
		line += "; Secure"
	}
	x.Response.Header.Add("Set-Cookie", line)
}

// newcomer is the choice that the client is to remember, nil when it is to remember
// none: only who came by weight does, since a tester's header is no reason to stay.
func (f *Filter) newcomer(x *exchange.Exchange) *visit {
	v, ok := x.Kept().(*visit)
	if !ok || v.by != byWeight || f.cfg.Sticky.Cookie == "" {
		return nil
	}
	return v
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(x *exchange.Exchange) string {
	if v := f.newcomer(x); v != nil {
		return "cookie " + f.cfg.Sticky.Cookie + " has the client stay with side " + v.side.name
	}
	return ""
}

// Done counts what became of x.
func (f *Filter) Done(x *exchange.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok {
		return
	}
	failed, asked := outcome(x)
	switch {
	case !asked:
		v.side.counts.unasked[v.by].Add(1)
	case failed:
		v.side.counts.failed[v.by].Add(1)
	default:
		v.side.counts.fine[v.by].Add(1)
	}
	// Who asks for a side by a condition may be trying to break it.
	if asked && v.by != byWhen && f.cfg.State != nil {
		f.cfg.State.record(v.side.name, failed, x.Answered.Sub(x.Sent))
	}
}

// outcome says whether the service failed, and whether it was asked at all.
func outcome(x *exchange.Exchange) (failed, asked bool) {
	f := x.Fault
	if f == nil {
		f = x.Rescued
	}
	switch {
	case f != nil:
		return true, f.Source == exchange.FromUpstream
	case x.Attempts == 0 || x.Abort != nil:
		return false, false
	case x.Response.Status >= http.StatusInternalServerError:
		return true, true
	}
	return x.IsGRPC() && failing(x), true
}

// failing reports a gRPC status that is the service's doing: UNKNOWN,
// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
func failing(x *exchange.Exchange) bool {
	code := x.Response.Trailer.Get("grpc-status")
	if code == "" {
		code = x.Response.Header.Get("grpc-status")
	}
	switch code {
	case "2", "4", "12", "13", "14", "15":
		return true
	}
	return false
}

func cookie(x *exchange.Exchange, name string) (string, int) {
	p := credential.Place{Cookie: name}
	return p.Find(x)
}
