package split

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/credential"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Config is how a route's exchanges are given to sides.
type Config struct {
	Route    string
	Sides    []Side // the first is the stable one
	Sticky   Sticky
	Rollback *Rollback // nil: never
	Counts   *Counts
	State    *State // nil without Rollback
	Log      *slog.Logger
}

// Side is one of them.
type Side struct {
	Name   string
	Weight int
	When   []When
}

// When are conditions that must all be so. A value of * is any.
type When struct{ Header, Cookie, Claim map[string]string }

// Sticky says how a client is known again: by at most one of its fields.
type Sticky struct {
	Cookie  string
	TTL     time.Duration // of the cookie; 0 is until the browser closes
	Secret  string        // signs the cookie
	Header  string
	Claim   string
	Address bool
}

// Rollback is when a side loses its weight. See config.Rollback.
type Rollback struct {
	ErrorMargin, LatencyMargin float64
	LatencyFloor               time.Duration
	MinRequests                int
	Window, RetryAfter         time.Duration
}

// Filter chooses. It stands in a route's chain before what depends on the
// choice: a cache, and the service.
type Filter struct {
	cfg     Config
	sides   []side
	total   int
	cookies credential.Place
	about   string
	draw    func(n int) int // a number below n
}

// side is a Side made ready.
type side struct {
	name   string
	weight int
	when   []when
	salt   uint64
	token  string // the cookie's value
	visits [ways]visit
	counts *count
	watch  *watch // nil without Rollback
}

// visit is what is kept of a choice; there is one for each that can be made.
type visit struct {
	side *side
	by   way
}

// way is how a side was chosen.
type way uint8

const (
	byWeight way = iota
	byWhen
	byHash
	byCookie
	ways
)

var wayNames = [ways]string{"weight", "condition", "hash", "cookie"}

type when struct{ header, cookie, claim []pair }

type pair struct{ name, value string }

// New checks cfg and makes its filter. Errors name the key they are about.
func New(cfg Config) (*Filter, error) {
	f := &Filter{cfg: cfg, cookies: credential.Place{Cookie: cfg.Sticky.Cookie}, draw: rand.IntN}
	if len(cfg.Sides) < 2 {
		return nil, filter.Errorf("split", "found %d side, want two or more: for one, say service", len(cfg.Sides))
	}
	seen := map[string]bool{}
	for i, s := range cfg.Sides {
		if seen[s.Name] {
			return nil, filter.Errorf("split["+strconv.Itoa(i)+"]", "two sides are called %s: give one a name, or another service, tags or meta", s.Name)
		}
		seen[s.Name] = true
		f.total += s.Weight
		n := side{name: s.Name, weight: s.Weight, salt: mix(hash(s.Name)), token: token(cfg.Sticky.Secret, s.Name), counts: cfg.Counts.of(s.Name)}
		for _, w := range s.When {
			if len(w.Header)+len(w.Cookie)+len(w.Claim) == 0 {
				return nil, filter.Errorf("split["+strconv.Itoa(i)+"].when", "found no condition, want header, cookie or claim")
			}
			for name := range w.Header {
				if _, err := firewall.NewSet(name); err != nil || strings.Contains(name, "*") {
					return nil, filter.Errorf("split["+strconv.Itoa(i)+"].when", "%q is no header name", name)
				}
			}
			n.when = append(n.when, when{pairs(w.Header), pairs(w.Cookie), pairs(w.Claim)})
		}
		f.sides = append(f.sides, n)
	}
	if f.total == 0 {
		return nil, filter.Errorf("split", "every weight is 0: nobody takes what no condition names")
	}
	given := 0
	for _, has := range []bool{cfg.Sticky.Cookie != "", cfg.Sticky.Header != "", cfg.Sticky.Claim != "", cfg.Sticky.Address} {
		if has {
			given++
		}
	}
	if given > 1 {
		return nil, filter.Errorf("sticky", "found %d of cookie, header, claim and address, want one", given)
	}
	if s := cfg.Sticky.Secret; s != "" && len(s) < 16 {
		return nil, filter.Errorf("sticky.secret", "found %d bytes, want 16 at least: who guesses it chooses a side", len(s))
	}
	for i := range f.sides {
		s := &f.sides[i]
		for w := range ways {
			s.visits[w] = visit{s, w}
		}
		if cfg.State != nil {
			s.watch = cfg.State.of(s.name)
		}
	}
	f.about = f.describe()
	return f, nil
}

func pairs(m map[string]string) []pair {
	var out []pair
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{name, m[name]})
	}
	return out
}

// token is a side as the cookie tells it: the same in every process that is
// configured alike, and of no use to learn the secret.
func token(secret, side string) string {
	mac := hmac.New(sha256.New, []byte("lintel split "+secret))
	mac.Write([]byte(side))
	return hex.EncodeToString(mac.Sum(nil)[:12])
}

func (f *Filter) describe() string {
	var b strings.Builder
	for i, s := range f.sides {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.name + " " + share(s.weight, f.total))
		if len(s.when) > 0 {
			b.WriteString(" and by condition")
		}
	}
	switch s := f.cfg.Sticky; {
	case s.Cookie != "":
		b.WriteString("; sticky by cookie " + s.Cookie)
	case s.Header != "":
		b.WriteString("; sticky by header " + s.Header)
	case s.Claim != "":
		b.WriteString("; sticky by claim " + s.Claim)
	case s.Address:
		b.WriteString("; sticky by address")
	}
	return b.String()
}

func share(weight, total int) string {
	return strconv.FormatFloat(100*float64(weight)/float64(total), 'g', 4, 64) + "%"
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	out := f.about
	for i := range f.sides {
		if why := f.sides[i].watch.rolledBack(); why != "" {
			out += "; " + f.sides[i].name + " is rolled back: " + why
		}
	}
	return out
}

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	v, ok := x.Kept().(*visit)
	if !ok {
		return ""
	}
	if v.by == byWeight {
		return "side " + v.side.name + " this time, drawn by weight"
	}
	return "side " + v.side.name + ", by " + wayNames[v.by]
}
