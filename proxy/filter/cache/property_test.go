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
	control  []string
	vary     []string
	varied   string // what it varies by, of the request
	at       time.Time
	storable bool
	explicit bool
}

// No answer ever reaches anyone but who it was made for, unless its own fields
// allow it; nor another resource, nor another variant; nor is it used past its
// time. The origin is the model: it numbers its answers and the test looks up
// for whom, and from what, the number that came back was made.
func TestNoAnswerIsEverSharedAcrossUsers(t *testing.T) {
	hits, shared := 0, 0
	for seed := range uint64(60) {
		h, s := privacyRun(t, rand.New(rand.NewPCG(seed, 7)))
		hits, shared = hits+h, shared+s
	}
	// The property must not hold for want of hits.
	if hits < 1000 || shared < 50 {
		t.Fatalf("only %d hits, %d of them shared between users", hits, shared)
	}
}

func privacyRun(t *testing.T, rng *rand.Rand) (hits, shared int) {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	some := func(list ...string) []string {
		return slices.DeleteFunc(list, func(string) bool { return rng.IntN(4) > 0 })
	}
	conf := Config{Authorized: pick("shared", "shared", "private"), MaxBytes: 256 << 10}
	if rng.IntN(2) == 0 {
		conf.TTL, conf.Override = 30*time.Second, rng.IntN(2) == 0
	}
	if rng.IntN(3) == 0 {
		no := false
		conf.PerUser = &no
	}
	r := newRig(t, conf)
	var log []made
	for range 400 {
		r.advance(time.Duration(rng.IntN(5)) * time.Second)
		x := request("GET /"+pick("a", "b"), some("Accept: x", "Accept: y", "X-Tenant: 1", "X-Tenant: 2")...)
		who := ""
		switch rng.IntN(6) {
		case 0, 1:
			id := &exchange.Identity{Issuer: pick("i", "j"), Subject: pick("u", "v"), Roles: some("admin")}
			x.Identity = id
			who += fmt.Sprint("id ", id.Issuer, id.Subject, id.Roles)
		case 2:
			x.Consumer = pick("c", "d")
			who += "consumer " + x.Consumer
		}
		for _, l := range some("Authorization: 1", "Authorization: 2", "Cookie: 1", "Cookie: 2") {
			name, value, _ := strings.Cut(l, ": ")
			x.Request.Header.Add(name, value)
			who += " " + l
		}
		if rng.IntN(10) == 0 {
			x.Request.Header.Add("Cache-Control", pick("no-cache", "max-age=3", "max-stale=5", "no-store"))
		}
		asked := x.Request.Header.Clone()
		body := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
			m := made{who: who, resource: x.Request.Path, at: r.time()}
			m.control = some("public", "private", "no-store", "must-revalidate", "no-cache", "proxy-revalidate")
			if rng.IntN(3) > 0 {
				m.control = append(m.control, pick("max-age=5", "max-age=20", "s-maxage=10"))
			}
			has := func(d string) bool { return slices.Contains(m.control, d) }
			m.vary = some("Accept", "X-Tenant", "X-User-Id", "Authorization")
			m.varied = values(&asked, m.vary)
			cookie := rng.IntN(8) == 0
			m.storable = !has("private") && !has("no-store") && !cookie
			m.explicit = has("public") || has("must-revalidate") || has("s-maxage=10")
			for _, name := range m.vary {
				if !asked.Has(name) && name != "Accept" {
					m.explicit = false
				}
			}
			log = append(log, m)
			_ = says(200, strconv.Itoa(len(log)-1))(x)
			for _, c := range m.control {
				x.Response.Header.Add("Cache-Control", c)
			}
			for _, v := range m.vary {
				x.Response.Header.Add("Vary", v)
			}
			if cookie {
				x.Response.Header.Add("Set-Cookie", "a=b")
			}
			return nil
		})
		n, err := strconv.Atoi(body)
		if err != nil {
			t.Fatalf("body %q", body)
		}
		m := log[n]
		if n == len(log)-1 && !strings.Contains(x.CacheInfo, "hit") {
			continue
		}
		hits++
		credentialed := who != "" || m.who != ""
		switch {
		case !m.storable:
			t.Fatalf("%v was given again", m.control)
		case m.who != who && credentialed && !m.explicit:
			t.Fatalf("made for %q, given to %q: %v vary %v", m.who, who, m.control, m.vary)
		case m.who != who && conf.Authorized == "private" && m.who != "":
			t.Fatalf("made for %q, given to %q though private", m.who, who)
		case m.resource != x.Request.Path:
			t.Fatalf("%s given for %s", m.resource, x.Request.Path)
		case m.varied != values(&asked, m.vary):
			t.Fatalf("variant %s given for %s", m.varied, values(&asked, m.vary))
		case r.time().Sub(m.at) > 30*time.Second+5*time.Second:
			t.Fatalf("given %v after it was made", r.time().Sub(m.at))
		}
		if m.who != who {
			shared++
		}
	}
	return hits, shared
}

func values(h *exchange.Fields, names []string) string {
	s := ""
	for _, n := range names {
		s += n + "=" + h.Joined(n) + ";"
	}
	return s
}
