package cache

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"lintel.dev/lintel/proxy/store"
)

// Caches are what the cache filters of a process keep, whatever tables use it.
type Caches struct {
	Stores *store.Set
	Path   func(string) (string, error) // spells a path as requests' paths are spelled
}

// Stats is how one cache is doing since it was made.
type Stats struct {
	Name     string `json:"name"` // "name:" and the filter's, or "route:" and the route's
	Entries  int    `json:"entries"`
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Hits     int64  `json:"hits"`   // answers given without the service, or after it confirmed them
	Misses   int64  `json:"misses"` // requests looked up and forwarded
	Stored   int64  `json:"stored"`
	Stale    int64  `json:"stale"`   // of the hits, those past their freshness
	Renewed  int64  `json:"renewed"` // in the background
	Failed   int64  `json:"renewals_failed"`
	Purged   int64  `json:"purged"`

	Shared []TierStats `json:"shared,omitempty"` // during a reload there may be two
}

// Stats tells how each cache is doing, by name.
func (c Caches) Stats() []Stats {
	out := []Stats{}
	for _, n := range store.All[*shared](c.Stores) {
		s := n.Value
		out = append(out, Stats{
			Name: plain(n.Name), Entries: s.responses.Len(), Bytes: s.responses.Bytes(), MaxBytes: s.maxBytes,
			Hits: s.responses.Hits(), Misses: s.misses.Load(), Stored: s.stored.Load(), Stale: s.stale.Load(),
			Renewed: s.renewed.Load(), Failed: s.failed.Load(), Purged: s.purged.Load(),
			Shared: c.tierStats(s),
		})
	}
	return out
}

// plain is a store's name as users know it.
func plain(name string) string { return strings.TrimPrefix(name, "cache/") }

// Purge says what to forget: exactly one of URL, Prefix, Tag and All.
type Purge struct {
	URL    string // https://host/path?query, or /path?query on any host
	Prefix string // the beginning of such a URL
	Tag    string // what an answer's tag fields list
	All    bool
	Cache  string // only in the cache of this name; "" is in all
}

// Purge forgets answers, also those on their way from a service, whoever they are
// for, and reports how many were kept here. Instances that share the cache are told. http and https are alike: which of them a
// client used is not always seen here.
func (c Caches) Purge(p Purge) (Purged, error) {
	given := 0
	for _, has := range []bool{p.URL != "", p.Prefix != "", p.Tag != "", p.All} {
		if has {
			given++
		}
	}
	if given != 1 {
		return Purged{}, fmt.Errorf("cache: want exactly one of url, prefix, tag and all, found %d", given)
	}
	u, err := c.target(p.URL + p.Prefix)
	if err != nil {
		return Purged{}, err
	}
	var out Purged
	known, wait := false, waits{}
	for _, n := range store.All[*shared](c.Stores) {
		if p.Cache != "" && p.Cache != plain(n.Name) {
			continue
		}
		known = true
		s := n.Value
		gone := s.forgetHere(p, u)
		wait.tell(c.tiers(s), p, u, s.ignore) // whose listener forgets here too, and does not count
		gone += s.forgetHere(p, u)
		s.purged.Add(int64(gone))
		out.Here += gone
	}
	if p.Cache != "" && !known {
		return Purged{}, fmt.Errorf("cache: there is no cache %q; GET /cache lists them", p.Cache)
	}
	out.Untold = !wait.heard()
	return out, nil
}

// forgetHere has memory forget, and reports how many answers it had.
func (s *shared) forgetHere(p Purge, u target) (gone int) {
	switch {
	case p.Tag != "":
		return s.responses.PurgeTag(p.Tag)
	case p.All:
		return s.responses.Purge(func(string) bool { return true })
	case p.Prefix != "":
		return s.responses.Purge(u.begins)
	case u.authority == "":
		return s.responses.Purge(u.thinned(s.ignore).is)
	}
	for _, key := range u.thinned(s.ignore).keys() {
		gone += s.responses.Invalidate(key)
	}
	return gone
}

// target is a URL as keys spell it.
type target struct {
	authority   string // "" is any
	path, query string
	open        bool // it has no query, so a prefix may end in the path
}

func (c Caches) target(s string) (t target, err error) {
	if s == "" {
		return t, nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return t, fmt.Errorf("cache: %q is no URL", s)
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(s, "/"):
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
		_, t.authority, _, _ = splitURI(string(appendPart(appendTarget(nil, u.Scheme, u.Host, ""), "")))
	default:
		return t, fmt.Errorf("cache: found %q, want https://host/path, or /path for any host", s)
	}
	if u.Fragment != "" {
		return t, errors.New("cache: a URL to purge has no fragment")
	}
	t.path, t.query, t.open = u.EscapedPath(), u.RawQuery, u.RawQuery == "" && !u.ForceQuery
	if t.path != "" && c.Path != nil {
		if t.path, err = c.Path(t.path); err != nil {
			return t, fmt.Errorf("cache: %w", err)
		}
	}
	return t, nil
}

func (t target) is(uri string) bool {
	_, _, path, query := splitURI(uri)
	return path == t.path && query == t.query
}

func (t target) begins(uri string) bool {
	_, authority, path, query := splitURI(uri)
	switch {
	case t.authority != "" && authority != t.authority:
		return false
	case t.open:
		return strings.HasPrefix(path, t.path)
	}
	return path == t.path && strings.HasPrefix(query, t.query)
}
