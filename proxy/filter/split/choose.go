package split

import (
	"crypto/subtle"
	"encoding/json"
	"math"
	"strconv"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// OnRequest gives x its side.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	v := f.choose(x)
	x.Side = v.side.name
	x.Keep(v)
	if f.cfg.Sticky.Cookie != "" {
		f.cookies.Remove(x) // it is between the client and us
	}
	return filter.Next
}

func (f *Filter) choose(x *exchange.Exchange) *visit {
	for i := range f.sides {
		for n := range f.sides[i].when {
			if f.sides[i].when[n].holds(x) {
				return &f.sides[i].visits[byWhen]
			}
		}
	}
	sticky := &f.cfg.Sticky
	var room [256]byte
	var key []byte
	switch {
	case sticky.Cookie != "":
		if s := f.remembered(x); s != nil {
			return &s.visits[byCookie]
		}
	case sticky.Header != "":
		key = append(room[:0], x.Request.Header.Joined(sticky.Header)...)
	case sticky.Claim != "":
		key = appendClaim(room[:0], x.Identity, sticky.Claim)
	case sticky.Address:
		if x.ClientIP.IsValid() {
			ip := x.ClientIP.Unmap().WithZone("")
			key = ip.AppendTo(room[:0])
		}
	}
	if len(key) > 0 {
		return &f.hashed(hash(string(key))).visits[byHash]
	}
	return &f.drawn().visits[byWeight]
}

// remembered is the side that the client's cookie names. One without a weight
// keeps nobody.
func (f *Filter) remembered(x *exchange.Exchange) *side {
	value, n := f.cookies.Find(x)
	if n == 0 {
		return nil
	}
	for i := range f.sides {
		s := &f.sides[i]
		if subtle.ConstantTimeCompare([]byte(value), []byte(s.token)) == 1 && s.now() > 0 {
			return s
		}
	}
	return nil
}

// now is the side's weight unless it is rolled back.
func (s *side) now() int {
	if s.watch != nil && s.watch.down.Load() != nil && s.watch.rolledBack() != "" {
		return 0
	}
	return s.weight
}

// drawn draws by weight.
func (f *Filter) drawn() *side {
	total := 0
	for i := range f.sides {
		total += f.sides[i].now()
	}
	if total > 0 {
		n := f.draw(total)
		for i := range f.sides {
			if n -= f.sides[i].now(); n < 0 {
				return &f.sides[i]
			}
		}
	}
	return &f.sides[0] // all others are rolled back
}

// hashed chooses by weighted rendezvous hashing: when a side's weight grows,
// those who move all move to it, and when it falls, only its own move.
func (f *Filter) hashed(key uint64) *side {
	best, highest := &f.sides[0], -1.0
	for i := range f.sides {
		s := &f.sides[i]
		w := s.now()
		if w == 0 {
			continue
		}
		u := (float64(mix(key^s.salt)>>11) + 0.5) / (1 << 53)
		if score := float64(w) / -math.Log(u); score > highest {
			best, highest = s, score
		}
	}
	return best
}

// hash is FNV-1a: the same in every process.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads a hash over all bits (the finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

func (w *when) holds(x *exchange.Exchange) bool {
	for _, p := range w.header {
		if !x.Request.Header.Has(p.name) || p.value != "*" && x.Request.Header.Joined(p.name) != p.value {
			return false
		}
	}
	for _, p := range w.cookie {
		v, n := cookie(x, p.name)
		if n == 0 || p.value != "*" && v != p.value {
			return false
		}
	}
	for _, p := range w.claim {
		if !claimIs(x.Identity, p.name, p.value) {
			return false
		}
	}
	return true
}

// claim finds a claim of the user's.
func claim(id *exchange.Identity, path string) any {
	if id == nil {
		return nil
	}
	if v, ok := exchange.Claim(id.Claims, path); ok {
		return v
	}
	if path == "sub" && id.Subject != "" {
		return id.Subject
	}
	return nil
}

func claimIs(id *exchange.Identity, path, want string) bool {
	v := claim(id, path)
	if v == nil {
		return false
	}
	if list, ok := v.([]any); ok {
		for _, e := range list {
			if want == "*" || string(appendValue(nil, e)) == want {
				return true
			}
		}
		return false
	}
	return want == "*" || string(appendValue(nil, v)) == want
}

func appendClaim(b []byte, id *exchange.Identity, path string) []byte {
	return appendValue(b, claim(id, path))
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(b, v...)
	case json.Number:
		return append(b, v...)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return b
}
