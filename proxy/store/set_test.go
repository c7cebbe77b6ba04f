package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

type closing struct{ closed atomic.Int32 }

func (c *closing) Close() error { c.closed.Add(1); return nil }

func TestValueOutlivesTheFirstLeaseAndIsClosedOnceWithTheLast(t *testing.T) {
	s, built := NewSet(), 0
	build := func() (*closing, error) { built++; return &closing{}, nil }
	a, b := s.Lease(), s.Lease()
	v1, _ := Use(a, "n", "f", build)
	again, _ := Use(a, "n", "f", build)
	v2, _ := Use(b, "n", "f", build)
	other, _ := Use(b, "n", "g", build)
	if v1 != v2 || v1 != again || other == v1 || built != 2 {
		t.Fatalf("built %d values: %p %p %p", built, v1, v2, other)
	}
	a.Release()
	a.Release()
	if v1.closed.Load() != 0 {
		t.Fatal("closed while a lease holds it")
	}
	b.Release()
	if v1.closed.Load() != 1 || other.closed.Load() != 1 || len(s.items) != 0 {
		t.Fatalf("closed %d and %d times, %d left", v1.closed.Load(), other.closed.Load(), len(s.items))
	}
}

func TestFailedBuildIsTriedAgain(t *testing.T) {
	s := NewSet()
	l := s.Lease()
	if _, err := Use(l, "n", "f", func() (int, error) { return 0, errors.New("no") }); err == nil {
		t.Fatal("no error")
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = Use(l, "n", "f", func() (int, error) { panic("no") })
	}()
	// What is left of the one that panicked fails once and is then forgotten.
	_, _ = Use(l, "n", "f", func() (int, error) { return 7, nil })
	v, err := Use(l, "n", "f", func() (int, error) { return 7, nil })
	if v != 7 || err != nil {
		t.Fatal(v, err)
	}
	l.Release()
	if len(s.items) != 0 {
		t.Fatal("items left")
	}
}

func TestSharedNameOfDifferentTypesIsAnErrorNotAPanic(t *testing.T) {
	s := NewSet()
	l := s.Lease()
	defer l.Release()
	if _, err := Use(l, "n", "f", func() (int, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := Use(l, "n", "f", func() (string, error) { return "", nil }); err == nil {
		t.Fatal("no error")
	}
}

func TestSlowBuildHoldsUpNeitherReleaseNorOtherNames(t *testing.T) {
	s := NewSet()
	old, next := s.Lease(), s.Lease()
	v, _ := Use(old, "old", "f", func() (*closing, error) { return &closing{}, nil })
	_, _ = Use(next, "slow", "f", func() (int, error) {
		// Were the set locked here, this would never return.
		old.Release()
		l := s.Lease()
		defer l.Release()
		return Use(l, "other", "f", func() (int, error) { return 1, nil })
	})
	if v.closed.Load() != 1 {
		t.Fatal("not closed")
	}
	next.Release()
}

func TestConcurrentLeasesBuildOnceAndCloseOnce(t *testing.T) {
	s := NewSet()
	for range 50 {
		var built, alive atomic.Int32
		var c closing
		var wg sync.WaitGroup
		leases := make([]*Lease, 8)
		for i := range leases {
			leases[i] = s.Lease()
			wg.Go(func() {
				v, err := Use(leases[i], "n", "f", func() (*closing, error) { built.Add(1); return &c, nil })
				if v == &c && err == nil {
					alive.Add(1)
				}
			})
		}
		wg.Wait()
		for _, l := range leases {
			wg.Go(l.Release)
		}
		wg.Wait()
		if built.Load() != 1 || alive.Load() != 8 || c.closed.Load() != 1 || len(s.items) != 0 {
			t.Fatalf("built %d, used %d, closed %d, left %d", built.Load(), alive.Load(), c.closed.Load(), len(s.items))
		}
	}
}

func TestAllListsWhatIsHeldOfOneType(t *testing.T) {
	s := NewSet()
	l := s.Lease()
	for _, name := range []string{"b", "a"} {
		if _, err := Use(l, name, "f", func() (*closing, error) { return &closing{}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = Use(l, "c", "f", func() (int, error) { return 1, nil })
	_, _ = Use(l, "d", "f", func() (*closing, error) { return nil, errors.New("no") })
	all := All[*closing](s)
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" || all[0].Value == nil {
		t.Errorf("listed %v", all)
	}
	l.Release()
	if left := All[*closing](s); len(left) != 0 {
		t.Errorf("%v listed after the last lease", left)
	}
}
