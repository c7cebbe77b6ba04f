package cache

import (
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

type cache struct {
	Config
	*shared
	tier *tier // nil without shared
	now  func() time.Time

	get, head, cookies, perUser, share bool
}

type held = store.Held[*answer]

// visit is one forwarded exchange. A hit has none.
type visit struct {
	uri, user []byte
	claims    string          // as appendClaims spells them, and the side of a split
	creds     bool            // the request says who is asking
	request   exchange.Fields // as it came: what later filters change chooses no variant
	fwd       string          // why it was forwarded (RFC 9211 section 2.2)
	saw       saw             // of them
	ifError   time.Duration   // the request's own stale-if-error, -1 when it has none

	lookup     bool // it was looked up, so its answer may be stored or replaced
	unsafe     bool // its success invalidates the URI
	store      bool
	validating bool // the request asks whether held still is true
	renewing   bool // no client waits for it
	served     bool // the answer is ours
	held       *held
	epoch      uint64
	page       page // how far the news of other instances were read
	tiered     bool // the tier was asked
	parted     bool // it was found to be for nobody else
	asked      time.Time
	flightKey  []byte        // under which others wait, nil when nobody does
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
	uri := f.appendURI(room[:0], r)
	saw := f.look(&r.Header)
	if why, unsafe := f.passes(r, saw); why != "" {
		v := &visit{fwd: why, unsafe: unsafe}
		if unsafe {
			v.uri = append(v.uri, uri...)
		}
		x.Keep(v)
		return filter.Next
	}
	want := &noWishes
	if saw&sawControl != 0 && f.ClientControl == "honour" {
		c := wishes(&r.Header)
		want = &c
	}
	if want.noStore {
		x.Keep(&visit{fwd: "request"})
		return filter.Next
	}
	key := f.appendUser(uri, x, saw)
	uri, user := key[:len(uri):len(uri)], key[len(uri):]
	creds := len(user) > 0 || saw&sawCredential != 0 || known(x)
	var claimRoom [256]byte
	claims := claimRoom[:0]
	if saw&sawClaim != 0 {
		claims = appendClaims(claims, &r.Header)
	}
	if x.Side != "" { // sides of a split are different services: none answers for another
		claims = appendPart(append(claims, 's'), x.Side)
	}
	now := f.now()
	found := f.find(uri, user, creds, claims, &r.Header, now)
	may := no
	if found != nil {
		may = f.usable(found.Value, want, now)
	}
	if may == yes {
		f.serve(x, found, &r.Header, saw, now, "", "")
		return filter.Answered
	}
	if want.onlyIfCached && may == no && f.tier == nil {
		return filter.Refuse(notCached())
	}
	v := &visit{fwd: "miss", lookup: true, creds: creds, store: r.Method == http.MethodGet, held: found, ifError: want.ifError}
	own := append(make([]byte, 0, len(key)+len(claims)), key...)
	own = append(own, claims...)
	v.saw = saw
	v.uri, v.user = own[:len(uri):len(uri)], own[len(uri):len(key):len(key)]
	v.claims = string(own[len(key):])
	v.request.Replace(&r.Header)
	if may == renewing && f.renew(x, v, now, want.onlyIfCached) {
		return filter.Answered
	}
	if want.onlyIfCached && may == no {
		if f.fetched(x, v, want) {
			return filter.Answered
		}
		return filter.Refuse(notCached())
	}
	if v.store && !want.noCache && f.alone(x, v, own, want) {
		return filter.Answered
	}
	if v.flightKey == nil && f.fetched(x, v, want) { // otherwise who led has asked
		return filter.Answered
	}
	x.Keep(v)
	switch {
	case want.noCache:
		v.fwd = "request"
	case v.held != nil:
		v.fwd = "stale"
	}
	f.misses.Add(1)
	f.ask(&r.Header, v)
	return filter.Next
}

// ask makes the request one whose answer may be stored, in place of what is held.
func (f *cache) ask(h *exchange.Fields, v *visit) {
	if v.held != nil && v.store && v.held.Value.validatable() {
		v.held.Value.condition(h)
		v.validating = true
	}
	v.epoch = f.responses.Epoch(v.uri)
	if f.tier != nil {
		v.page = f.tier.news.page()
	}
	v.asked = f.now()
}

// noWishes are those of nearly every client.
var noWishes = noControl()

// wishes are what the client asks of caches.
func wishes(h *exchange.Fields) control {
	want := parseControl(h, false)
	if !want.present && h.HasToken("Pragma", "no-cache") {
		want.noCache = true
	}
	return want
}

// passes says why a request is none of the cache's business, "" when it is.
func (f *cache) passes(r *exchange.Request, saw saw) (why string, unsafe bool) {
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
	if r.Length != 0 || r.Upgrade != "" || saw&sawForeign != 0 {
		return "bypass", false
	}
	return "", false
}

// Done lets go whoever waits for this exchange, and of what it collected.
func (f *cache) Done(x *exchange.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok {
		return
	}
	if v.fill != nil {
		v.fill.abandon(true)
	}
	f.land(v, true)
}

func notCached() *exchange.Fault {
	return &exchange.Fault{
		Source: exchange.FromClient, Status: http.StatusGatewayTimeout, Code: "not-cached",
		Title: "Not in the cache", Detail: "the request says only-if-cached and no usable answer is stored",
	}
}
