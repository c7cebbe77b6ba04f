package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// made is what the origin remembers of each answer it made, by its body.
type made struct {
	who      string // identity, consumer and credentials of who asked
	resource string
	control  []string // the directives that count, targeted ones in place of others
	vary     []string
	varied   string // what it varies by, of the request
	at       time.Time
	cookie   bool
	tag      string
	gone     bool // changed or purged since
}

func (m *made) has(d string) bool { return slices.Contains(m.control, d) }

// storable: RFC 9111 section 3, and Set-Cookie unless it is left out.
func (m *made) storable() bool {
	return !m.has("private") && !m.has("no-store") && (!m.cookie || m.has(`private="set-cookie"`))
}

// explicit: section 3.5, and everything it varies by was there to be seen.
func (m *made) explicit(asked *exchange.Fields) bool {
	for _, name := range m.vary {
		if !asked.Has(name) && name != "Accept" {
			return false
		}
	}
	return m.has("public") || m.has("must-revalidate") || m.has("s-maxage=10")
}

// life is section 4.2.1; -1 when only the configuration says how long.
func (m *made) life() time.Duration {
	for _, d := range []string{"s-maxage=10", "max-age=5", "max-age=20"} {
		if m.has(d) {
			_, n, _ := strings.Cut(d, "=")
			secs, _ := strconv.Atoi(n)
			return time.Duration(secs) * time.Second
		}
	}
	return -1
}

// past is how long past its life it may be given, at the most (section 4.2.4 and
// RFC 5861), when the client grants that much.
func (m *made) past(conf *Config, client time.Duration) time.Duration {
	if m.has("must-revalidate") || m.has("proxy-revalidate") || m.has("no-cache") {
		return 0
	}
	explicit := time.Duration(0)
	for _, d := range []string{"stale-while-revalidate=7", "stale-if-error=7"} {
		if m.has(d) {
			explicit = 7 * time.Second
		}
	}
	if m.has("s-maxage=10") {
		return explicit
	}
	return max(explicit, conf.StaleIfError, conf.StaleWhileRevalidate, client)
}

// No answer ever reaches anyone but who it was made for, unless its own fields
// allow it; nor another resource, nor another variant; nor is it used past its
// time, or after it was changed or purged; nor with a field that was for one
// alone. The origin is the model: it numbers its answers and the test looks up
// for whom, and from what, the number that came back was made.
func TestNoAnswerIsEverSharedAcrossUsers(t *testing.T) {
	total := tally{}
	for seed := range uint64(150) {
		p := &privacy{T: t, rng: rand.New(rand.NewPCG(seed, 7)), seed: seed, steps: 400}
		p.run()
		for what, n := range p.seen {
			total[what] += n
		}
	}
	// The property must not hold for want of what could break it.
	for what, least := range (tally{"hit": 3000, "shared": 100, "stale": 100, "behind": 100, "confirmed": 100, "part": 50, "left out": 50}) {
		if total[what] < least {
			t.Errorf("only %d times %q: %v", total[what], what, total)
		}
	}
}

// The same holds for two instances that share through Redis, once both have
// heard what was changed or purged.
func TestNoAnswerIsEverSharedAcrossUsersOfTwoInstances(t *testing.T) {
	server := startRedis(t)
	total := tally{}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := &privacy{T: t, rng: rand.New(rand.NewPCG(seed, 8)), seed: seed, steps: 150, redis: server.Addr()}
			p.run()
			for what, n := range p.seen {
				total[what] += n
			}
		})
	}
	for what, least := range (tally{"hit": 500, "shared": 20, "redis": 100, "redis and shared": 5, "stale": 20, "confirmed": 20}) {
		if total[what] < least {
			t.Errorf("only %d times %q: %v", total[what], what, total)
		}
	}
	t.Log(total)
}

// written waits until Redis has what both wrote.
func (p *privacy) written() {
	for _, in := range p.both {
		eventually(p.T, "all is written", func() bool { return in.tier.queued.Load() == 0 })
	}
}

// heard waits until both know what was forgotten.
func (p *privacy) heard() {
	if p.both != nil {
		settle(p.T, p.both...)
	}
}

func (p *privacy) purge(tag string) {
	if p.both == nil {
		p.r.responses.PurgeTag(tag)
		return
	}
	for _, in := range p.both {
		if in.rig == p.r {
			if got, err := (Caches{Stores: in.set}).Purge(Purge{Tag: tag}); err != nil || got.Untold {
				p.Fatal(got, err)
			}
		}
	}
	p.heard()
}

type tally map[string]int

type privacy struct {
	*testing.T
	rng   *rand.Rand
	seed  uint64
	steps int
	redis string      // of two instances
	both  []*instance // by turns r
	conf  Config
	r     *rig
	log   []*made
	seen  tally
}

func (p *privacy) pick(list ...string) string { return list[p.rng.IntN(len(list))] }

func (p *privacy) some(list ...string) []string {
	return slices.DeleteFunc(list, func(string) bool { return p.rng.IntN(4) > 0 })
}

func (p *privacy) one(in int) bool { return p.rng.IntN(in) == 0 }

func (p *privacy) run() {
	p.seen = tally{}
	p.conf = Config{Authorized: p.pick("shared", "shared", "private"), MaxBytes: 256 << 10}
	if p.one(2) {
		p.conf.TTL, p.conf.Override = 30*time.Second, p.one(2)
	}
	if p.one(3) {
		no := false
		p.conf.PerUser = &no
	}
	if p.one(3) {
		p.conf.StaleIfError, p.conf.StaleWhileRevalidate = 4*time.Second, 3*time.Second
	}
	if p.redis == "" {
		p.r = newRig(p.T, p.conf)
	} else {
		p.conf.Name = fmt.Sprint(p.seed) // in Redis too, each for itself
		a, b := pair(p.T, p.conf, p.redis)
		p.both = []*instance{a, b}
	}
	clock := p.r
	for range p.steps {
		if p.both != nil {
			clock, p.r = p.both[0].rig, p.both[p.rng.IntN(2)].rig
			if p.one(3) { // otherwise Redis is still being written to
				p.written()
			}
		}
		clock.advance(time.Duration(p.rng.IntN(5)) * time.Second)
		switch p.rng.IntN(40) {
		case 0:
			p.change()
		case 1:
			tag := p.pick("t1", "t2")
			p.purge(tag)
			p.forget(func(m *made) bool { return m.tag == tag })
		default:
			p.exchange()
		}
	}
}

func (p *privacy) forget(which func(*made) bool) {
	for _, m := range p.log {
		m.gone = m.gone || which(m)
	}
}

// change is an unsafe request for one resource that may name the other.
func (p *privacy) change() {
	path, other := p.pick("/a", "/b"), p.pick("/a", "/b")
	p.r.do(request("POST "+path), says(201, "", "Location: "+other))
	p.heard()
	p.forget(func(m *made) bool { return m.resource == path || m.resource == other })
}

// answer is the origin's.
func (p *privacy) answer(who string) origin {
	return func(x *exchange.Exchange) *exchange.Fault {
		if p.one(12) {
			return broken(x)
		}
		h := &x.Request.Header
		if tag := h.Get("If-None-Match"); tag != "" && p.one(2) {
			n, _ := strconv.Atoi(strings.Trim(tag, `"`))
			p.log[n].at = p.r.now()
			p.seen["confirmed"]++
			return says(304, "")(x)
		}
		m := &made{who: who, resource: x.Request.Path, at: p.r.now(), cookie: p.one(8), tag: p.pick("", "t1", "t2")}
		m.control = p.some("public", "private", "no-store", "must-revalidate", "no-cache", "proxy-revalidate",
			"stale-while-revalidate=7", "stale-if-error=7", `private="set-cookie"`, `no-cache="x-secret"`)
		if !p.one(3) {
			m.control = append(m.control, p.pick("max-age=5", "max-age=20", "s-maxage=10"))
		}
		for name, qualified := range map[string]string{"private": `private="set-cookie"`, "no-cache": `no-cache="x-secret"`} {
			if m.has(name) { // of a Dictionary only the last would count
				m.control = slices.DeleteFunc(m.control, func(d string) bool { return d == qualified })
			}
		}
		m.vary = p.some("Accept", "X-Tenant", "X-User-Id", "Authorization")
		m.varied = values(h, m.vary)
		p.log = append(p.log, m)
		n := len(p.log) - 1
		_ = says(200, fmt.Sprintf("%08d", n), fmt.Sprintf("X-Secret: %d", n), "Surrogate-Key: "+m.tag, fmt.Sprintf(`ETag: "%d"`, n))(x)
		if len(m.control) > 0 && p.one(3) { // what Cache-Control says then does not count
			x.Response.Header.Add("Lintel-Cache-Control", strings.Join(m.control, ", "))
			x.Response.Header.Add("Cache-Control", p.pick("private", "public, max-age=60", "no-store"))
		} else {
			for _, c := range m.control {
				x.Response.Header.Add("Cache-Control", c)
			}
		}
		for _, v := range m.vary {
			x.Response.Header.Add("Vary", v)
		}
		if m.cookie {
			x.Response.Header.Add("Set-Cookie", fmt.Sprintf("a=%d", n))
		}
		return nil
	}
}

// asking makes a request and says who asks it.
func (p *privacy) asking() (x *exchange.Exchange, who string) {
	x = request("GET /"+p.pick("a", "b"), p.some("Accept: x", "Accept: y", "X-Tenant: 1", "X-Tenant: 2")...)
	switch p.rng.IntN(6) {
	case 0, 1:
		id := &exchange.Identity{Issuer: p.pick("i", "j"), Subject: p.pick("u", "v"), Roles: p.some("admin")}
		x.Identity = id
		who += fmt.Sprint("id ", id.Issuer, id.Subject, id.Roles)
	case 2:
		x.Consumer = p.pick("c", "d")
		who += "consumer " + x.Consumer
	}
	for _, l := range p.some("Authorization: 1", "Authorization: 2", "Cookie: 1", "Cookie: 2") {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
		who += " " + l
	}
	if p.one(10) {
		x.Request.Header.Add("Cache-Control", p.pick("no-cache", "max-age=3", "max-stale=5", "no-store", "stale-if-error=5", "min-fresh=2"))
	}
	if p.one(10) {
		x.Request.Header.Add("Range", p.pick("bytes=0-7", "bytes=0-", "bytes=-8"))
	}
	return x, who
}

func (p *privacy) exchange() {
	x, who := p.asking()
	asked := x.Request.Header.Clone()
	before := len(p.log)
	run := func() {}
	if !p.one(3) {
		run = p.r.behind(x, p.answer(who))
	}
	body := p.r.do(x, p.answer(who))
	defer run()
	n, err := strconv.Atoi(body)
	if err != nil {
		if x.Response.Status < 500 {
			p.Fatalf("seed %d: body %q", p.seed, body)
		}
		return
	}
	if n >= before {
		return // made for this very exchange
	}
	p.check(x, &asked, p.log[n], n, who)
}

// check holds what came back against what it was made for.
func (p *privacy) check(x *exchange.Exchange, asked *exchange.Fields, m *made, n int, who string) {
	fail := func(format string, args ...any) {
		p.Helper()
		p.Fatalf("seed %d: answer %d %+v for %q: %s (%s)", p.seed, n, *m, who, fmt.Sprintf(format, args...), x.CacheInfo)
	}
	p.seen["hit"]++
	age, life := p.r.now().Sub(m.at), m.life()
	if life < 0 || p.conf.Override {
		life = p.conf.TTL
	}
	if m.has("no-cache") {
		life = 0
	}
	client := time.Duration(0)
	if c := asked.Get("Cache-Control"); c == "max-stale=5" || c == "stale-if-error=5" {
		client = 5 * time.Second
	}
	switch {
	case !m.storable():
		fail("it was not to be kept")
	case m.who != who && (who != "" || m.who != "") && !m.explicit(asked):
		fail("it is another's")
	case m.who != who && p.conf.Authorized == "private" && m.who != "":
		fail("it is another's, and authorized is private")
	case m.resource != x.Request.Path:
		fail("it is of another resource")
	case m.varied != values(asked, m.vary):
		fail("it is another variant, this asks for %s", values(asked, m.vary))
	case m.gone:
		fail("it was changed or purged")
	case age > 0 && age >= life && age-life > m.past(&p.conf, client):
		fail("it is %v old and good for %v", age, life)
	case x.Response.Header.Has("X-Secret") && m.has(`no-cache="x-secret"`):
		fail("X-Secret was to be left out")
	case x.Response.Header.Has("Set-Cookie"), x.Response.Header.Has("Surrogate-Key"):
		fail("fields %v", x.Response.Header)
	}
	for what, is := range map[string]bool{
		"shared": m.who != who, "stale": age > life, "part": x.Response.Status == 206, "left out": m.has(`no-cache="x-secret"`),
		"behind": strings.Contains(x.CacheInfo, "stale-while-revalidate"),
		"redis":  strings.HasSuffix(x.CacheInfo, "detail=redis"), "redis and shared": strings.HasSuffix(x.CacheInfo, "detail=redis") && m.who != who,
	} {
		if is {
			p.seen[what]++
		}
	}
}

func values(h *exchange.Fields, names []string) string {
	s := ""
	for _, n := range names {
		s += n + "=" + h.Joined(n) + ";"
	}
	return s
}
