package discovery

import (
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// eventually polls a condition until it holds.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// seen is a subscriber that remembers what it was told.
type seen struct {
	mu  sync.Mutex
	all []Update
}

func (s *seen) update(u Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, u)
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// history is all it was told.
func (s *seen) history() []Update {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// pairs are the neighbours of a list.
func pairs[T any](list []T) (out [][2]T) {
	for i := 1; i < len(list); i++ {
		out = append(out, [2]T{list[i-1], list[i]})
	}
	return out
}

func (s *seen) last() Update {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return Update{}
	}
	return s.all[len(s.all)-1]
}

// fresh and stale tell whether the last update holds exactly these addresses.
func (s *seen) fresh(addresses ...string) func() bool {
	return func() bool {
		u := s.last()
		return s.count() > 0 && !u.Stale && slices.Equal(addressesOf(u), addresses)
	}
}

func (s *seen) stale(addresses ...string) func() bool {
	return func() bool { u := s.last(); return u.Stale && slices.Equal(addressesOf(u), addresses) }
}

func addressesOf(u Update) []string {
	var a []string
	for _, e := range u.Endpoints {
		a = append(a, e.Address)
	}
	return a
}

func endpoints(addresses ...string) []cluster.Endpoint {
	var e []cluster.Endpoint
	for _, a := range addresses {
		e = append(e, cluster.Endpoint{Address: a, Weight: 1})
	}
	return e
}
