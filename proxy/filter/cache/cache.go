package cache

import (
	"context"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

type cache struct {
	Config
	responses *store.Responses[*answer]
	flights   *store.Flights
	now       func() time.Time

	get, head, cookies, perUser, share bool
}

type held = store.Held[*answer]

// visit is one forwarded exchange. A hit has none.
type visit struct {
	uri, user []byte
	claims    string          // as appendClaims spells them
	creds     bool            // the request says who is asking
	request   exchange.Fields // as it came: what later filters change chooses no variant
	fwd       string          // why it was forwarded (RFC 9211 section 2.2)

	lookup     bool // it was looked up, so its answer may be stored or replaced
	unsafe     bool // its success invalidates the URI
	store      bool
	validating bool // the request asks whether held still is true
	served     bool // the answer is ours
	held       *held
	epoch      uint64
	asked      time.Time
	flight     *store.Flight // led by this exchange, until landed
	fill       *fill
}

// OnRequest answers from the store, or lets the request pass, as the leader of
// those that ask for the same, after waiting for one, or for itself.
func (f *cache) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("whether an answer is kept")
		return filter.Next
	}
	r := &x.Request
	var room [512]byte
	uri := appendURI(room[:0], r)
	if why, unsafe := f.passes(r); why != "" {
		v := &visit{fwd: why, unsafe: unsafe}
		if unsafe {
			v.uri = append(v.uri, uri...)
		}
		x.Keep(v)
		return filter.Next
	}
	want := parseControl(&r.Header)
	if !want.present && r.Header.HasToken("Pragma", "no-cache") {
		want.noCache = true
	}
	if want.noStore {
		x.Keep(&visit{fwd: "request"})
		return filter.Next
	}
	key := f.appendUser(uri, x)
	uri, user := key[:len(uri):len(uri)], key[len(uri):]
	creds := len(user) > 0 || f.credentials(x)
	now := f.now()
	found := f.find(uri, user, creds, &r.Header, now)
	if found != nil && f.usable(found.Value, &want, now) {
		f.serve(x, found, &r.Header, now, "")
		return filter.Answered
	}
	if want.onlyIfCached {
		return filter.Refuse(notCached())
	}
	v := &visit{fwd: "miss", lookup: true, creds: creds, store: r.Method == http.MethodGet, held: found}
	own := append([]byte(nil), key...)
	own = appendClaims(own, &r.Header)
	v.uri, v.user = own[:len(uri):len(uri)], own[len(uri):len(key):len(key)]
	v.claims = string(own[len(key):])
	v.request.Replace(&r.Header)
	if v.store && !want.noCache && f.alone(x, v, own, &want) {
		return filter.Answered
	}
	x.Keep(v)
	switch {
	case want.noCache:
		v.fwd = "request"
	case v.held != nil:
		v.fwd = "stale"
	}
	if v.held != nil && v.store && v.held.Value.validatable() {
		v.held.Value.condition(&r.Header)
		v.validating = true
	}
	v.epoch = f.responses.Epoch(v.uri)
	v.asked = f.now()
	return filter.Next
}

// passes says why a request is none of the cache's business, "" when it is.
func (f *cache) passes(r *exchange.Request) (why string, unsafe bool) {
	switch r.Method {
	case http.MethodGet:
		if !f.get {
			return "bypass", false
		}
	case http.MethodHead:
		if !f.head {
			return "bypass", false
		}
	case http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return "method", false
	default:
		return "method", true
	}
	if r.Length != 0 || r.Upgrade != "" || foreign(&r.Header) {
		return "bypass", false
	}
	return "", false
}

// alone makes the exchange the only one to ask for key, or waits for the one
// that is, and reports whether that left an answer for it. Credentials that
// name no user are not waited with: their answer is hardly ever stored.
func (f *cache) alone(x *exchange.Exchange, v *visit, key []byte, want *control) bool {
	if v.creds && (len(v.user) == 0 || !f.perUser) {
		return false
	}
	flight, leader := f.flights.Join(key, f.now(), f.CoalesceTimeout)
	info := ""
	if leader {
		v.flight = flight
	} else {
		f.await(x, flight)
		info = "lintel; fwd=miss; collapsed"
	}
	// Looked up again also by a leader: the one before may just have landed.
	now := f.now()
	v.held = f.find(v.uri, v.user, v.creds, &v.request, now)
	if v.held == nil || !f.usable(v.held.Value, want, now) {
		return false
	}
	f.land(v)
	f.serve(x, v.held, &v.request, now, info)
	return true
}

// await waits for a leader, no longer than is bearable. How it ends does not
// matter: the store says whether there is an answer now.
func (f *cache) await(x *exchange.Exchange, flight *store.Flight) {
	landed, patience := flight.Landed(), f.CoalesceTimeout
	_ = x.Await(func(ctx context.Context) error {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-landed:
		case <-t.C:
		case <-ctx.Done():
		}
		return nil
	})
}

func (f *cache) land(v *visit) {
	if v.flight != nil {
		f.flights.Land(v.flight)
		v.flight = nil
	}
}

// find returns what is kept for this user, or else for everybody, that the
// request fields choose; a fresh one before a stale one.
func (f *cache) find(uri, user []byte, creds bool, request *exchange.Fields, now time.Time) *held {
	var own *held
	var room [256]byte
	claims := appendClaims(room[:0], request)
	if len(user) > 0 && f.perUser {
		own = choose(f.responses.Variants(uri, user), request, claims, false)
		if own != nil && own.Value.left(now) > 0 {
			return own
		}
	}
	if creds && !f.share {
		return own
	}
	all := choose(f.responses.Variants(uri, nil), request, claims, creds)
	if own == nil || all != nil && all.Value.left(now) > 0 {
		return all
	}
	return own
}

// choose takes the newest that fits; one that is not explicitly for a shared
// cache is not for who came with credentials.
func choose(list []*held, request *exchange.Fields, claims []byte, explicit bool) *held {
	for _, h := range list {
		if (h.Value.open || !explicit) && h.Value.claims == string(claims) && h.Value.matches(request) {
			return h
		}
	}
	return nil
}

// usable reports whether a may be given without asking the service (RFC 9111
// section 4), as the request wants it (section 5.2.1).
func (f *cache) usable(a *answer, want *control, now time.Time) bool {
	if want.noCache || a.always || want.maxAge >= 0 && a.age(now) > want.maxAge {
		return false
	}
	left := a.left(now)
	if left > 0 || want.minFresh > 0 {
		return left > 0 && left >= want.minFresh
	}
	if a.must || !want.anyStale && want.maxStale < 0 {
		return false
	}
	bound := *f.MaxStale
	if want.maxStale >= 0 {
		bound = min(bound, want.maxStale)
	}
	return -left <= bound
}

// tolerates reports whether a may stand in for an answer that the service
// failed to give.
func (f *cache) tolerates(a *answer, now time.Time) bool {
	return f.StaleIfError > 0 && !a.must && !a.always && -a.left(now) <= f.StaleIfError
}

// Done lets go whoever waits for this exchange, and of what it collected.
func (f *cache) Done(x *exchange.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok {
		return
	}
	if v.fill != nil {
		v.fill.abandon()
	}
	f.land(v)
}

func notCached() *exchange.Fault {
	return &exchange.Fault{
		Source: exchange.FromClient, Status: http.StatusGatewayTimeout, Code: "not-cached",
		Title: "Not in the cache", Detail: "the request says only-if-cached and no usable answer is stored",
	}
}
