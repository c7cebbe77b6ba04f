package jwt

import (
	"fmt"
	"slices"
	"time"
)

// source is one configured source of keys.
type source struct {
	issuers []string // the issuers it speaks for; empty: all
	static  *keySet
	remote  *Remote // nil for static keys
}

// current returns the keys to verify with now, nil when there are none.
func (s *source) current(now time.Time) *keySet {
	if s.remote != nil {
		return s.remote.current(now)
	}
	return s.static
}

func (s *source) speaksFor(issuer string) bool {
	return len(s.issuers) == 0 || slices.Contains(s.issuers, issuer)
}

// explain describes the source in a few words.
func (s *source) explain(now time.Time) string {
	if s.remote == nil {
		return fmt.Sprintf("%d static", len(s.static.keys))
	}
	st := s.remote.state.Load()
	if st == nil {
		return s.remote.url + " (not fetched yet)"
	}
	age := now.Sub(st.at).Round(time.Second)
	if s.current(now) == nil {
		return fmt.Sprintf("%s (unusable: fetched %s ago, max_stale is %s)", s.remote.url, age, s.remote.cfg.MaxStale)
	}
	return fmt.Sprintf("%s (%d keys, fetched %s ago)", s.remote.url, len(st.set.keys), age)
}
