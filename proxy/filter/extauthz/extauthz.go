package extauthz

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/store"
)

// Filter asks the authorizer about every request.
type Filter struct {
	Config
	client   *ask.Client
	verdicts *store.Verdicts[*verdict]
	log      *slog.Logger
	route    string
	now      func() time.Time

	tell                               []bool // by fact
	fixed                              []exchange.Field
	given, toService, toClient, denied *firewall.Set
	consumers                          map[string]string // known consumers, by name

	complained atomic.Int64 // when a failure was last logged, unix nanoseconds
	quiet      atomic.Int64 // failures since
}

// OnRequest lets the request pass, gives the client the authorizer's refusal, or
// says that the authorizer could not be asked.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("the authorizer")
		return filter.Next
	}
	body, fault := f.body(x)
	if fault != nil {
		return filter.Refuse(fault)
	}
	key := f.identify(x, body)
	v, known := f.verdicts.Get(key, f.now())
	if !known {
		var err error
		if v, err = f.consult(x, key, body); err != nil {
			return f.failed(x, err)
		}
	}
	if !v.allowed {
		return v.refuse(x)
	}
	f.admit(x, v)
	return filter.Next
}

// consult waits for the authorizer.
func (f *Filter) consult(x *exchange.Exchange, key store.Question, body []byte) (v *verdict, err error) {
	question := f.question(x, body)
	err = x.Await(func(ctx context.Context) (err error) {
		v, err = f.verdicts.Ask(ctx, key, func(ctx context.Context) (store.Reply[*verdict], error) {
			return f.ask(ctx, question)
		})
		return err
	})
	return v, err
}

// admit makes the request what the service may see of it.
func (f *Filter) admit(x *exchange.Exchange, v *verdict) {
	if v.identity == nil {
		f.vouch(x, v)
	}
	f.clean(x)
	for _, h := range v.forService {
		x.Request.Header.Add(h.Name, h.Value)
	}
	if v.identity != nil {
		x.Identity = v.identity
	}
	if v.consumer != "" {
		x.Consumer = v.consumer
	}
	if len(v.forClient) > 0 {
		x.Keep(v)
	}
}

// vouch tells callers apart that only the authorizer can name: by what it was
// given of them and what it says of them to the service. Authorization and Cookie
// caches look at themselves.
func (f *Filter) vouch(x *exchange.Exchange, v *verdict) {
	var room [1024]byte
	key := room[:0]
	if f.given != nil {
		for name, value := range x.Request.Header.All() {
			if f.given.Match(name) && !exchange.EqualFold(name, "Authorization") && !exchange.EqualFold(name, "Cookie") {
				key = appendPart(appendPart(append(key, 'h'), name), value)
			}
		}
	}
	for _, h := range v.forService {
		key = appendPart(appendPart(append(key, 's'), h.Name), h.Value)
	}
	if len(key) > 0 {
		x.Vouch(sha256.Sum256(key))
	}
}

// clean takes off what only the authorizer may say.
func (f *Filter) clean(x *exchange.Exchange) {
	if f.toService != nil {
		x.Removed += f.toService.CleanRequest(x)
	}
}

// failed is what becomes of a request about which nothing is known.
func (f *Filter) failed(x *exchange.Exchange, err error) filter.Verdict {
	if x.Ended() == nil {
		f.complain(err)
	}
	if f.OnError == "allow" {
		f.clean(x)
		return filter.Next
	}
	return filter.Refuse(&exchange.Fault{Source: exchange.FromSelf, Status: f.ErrorStatus, Code: "authz-unavailable",
		Title: "Cannot be authorized now", Detail: "the authorizer does not answer", Err: err})
}

// complain logs a failure, once a second at most: it may be every request's.
func (f *Filter) complain(err error) {
	now := f.now().UnixNano()
	last := f.complained.Load()
	if now-last < int64(time.Second) || !f.complained.CompareAndSwap(last, now) {
		f.quiet.Add(1)
		return
	}
	f.log.Warn("ext_authz: the authorizer does not answer", "route", f.route, "on_error", f.OnError, "error", err, "more", f.quiet.Swap(0))
}

// OnResponse gives the client what the authorizer meant for it.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	v, ok := x.Kept().(*verdict)
	if !ok {
		return
	}
	for _, h := range v.forClient {
		if exchange.EqualFold(h.Name, "Set-Cookie") {
			continue
		}
		x.Response.Header.Del(h.Name)
	}
	for _, h := range v.forClient {
		x.Response.Header.Add(h.Name, h.Value)
	}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	address := f.URL
	if u, err := ask.Address(f.URL); err == nil {
		u.RawQuery = "" // it may hold a secret
		address = u.String()
	}
	s := fmt.Sprintf("asks %s within %v about %s and %s", address, f.Timeout, strings.Join(f.Tell, " "), strings.Join(f.Request, " "))
	if f.Body > 0 {
		s += fmt.Sprintf(" and the body up to %d bytes", f.Body)
	}
	if f.toService != nil {
		s += "; the service gets " + strings.Join(f.ToService, " ")
	}
	if f.Cache.TTL > 0 {
		s += fmt.Sprintf("; answers count for %v, %d kept", f.Cache.TTL, f.verdicts.Len())
	}
	return s + "; when it fails: " + f.OnError
}
