package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
)

func startedRedis(t testing.TB, addr ...string) *Redis {
	t.Helper()
	mode := "single"
	if len(addr) > 1 {
		mode = "cluster"
	}
	r, err := NewRedis(RedisConfig{Name: "t", Mode: mode, Addresses: addr, Timeout: 5 * time.Second, Prefix: "t:"})
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(func() { _ = r.Close(); r.work.Wait() })
	redistest.WaitFor(t, "redis", func() error {
		if !r.up.Load() {
			return ErrRedisDown
		}
		return nil
	})
	return r
}

func texts(p Pages) (out []string) {
	for _, n := range p.Notes {
		out = append(out, n.Text)
	}
	return out
}

func TestALedgerIsReadToItsEnd(t *testing.T) {
	server := redistest.Start(t)
	l := NewLedger(startedRedis(t, server.Addr()), "ledger")
	exchange := func(after int64, notes ...string) Pages {
		t.Helper()
		p, err := l.Exchange(t.Context(), after, notes...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(p.Notes, func(a, b Note) int { return int(a.Seq - b.Seq) }) {
			t.Fatalf("out of order: %v", p.Notes)
		}
		return p
	}
	empty := exchange(0)
	if len(empty.Notes) != 0 || empty.Begun != empty.Floor || empty.Read != empty.Begun {
		t.Fatalf("%+v", empty)
	}
	one := exchange(empty.Read, "ua", "ub")
	if got := texts(one); !slices.Equal(got, []string{"ua", "ub"}) || one.Notes[0].Seq <= empty.Read || one.Read != one.Notes[1].Seq {
		t.Errorf("%+v", one)
	}
	if again := exchange(one.Read, "ua"); !slices.Equal(texts(again), []string{"ua"}) {
		t.Errorf("what was there already: %+v", again)
	}
	if all := exchange(0); !slices.Equal(texts(all), []string{"ub", "ua"}) || all.Floor != empty.Floor {
		t.Errorf("from the beginning: %+v", all)
	}

	// More than a page, and more than are kept.
	var many []string
	for i := range LedgerKeep {
		if many = append(many, fmt.Sprint("u", i)); len(many) == 4096 {
			exchange(one.Read, many...)
			many = nil
		}
	}
	seen, after, floor := 0, int64(0), int64(0)
	for {
		p := exchange(after)
		seen, after, floor = seen+len(p.Notes), p.Read, p.Floor
		if p.Read == p.Last {
			break
		}
	}
	if seen != LedgerKeep || floor < one.Read {
		t.Errorf("%d notes down to %d, want %d and those before gone", seen, floor, LedgerKeep)
	}

	server.Do("FLUSHALL")
	if lost := exchange(after); lost.Begun == empty.Begun || lost.Floor <= after {
		t.Errorf("a lost ledger is not told from the old one: %+v", lost)
	}
	server.Do("SET", "t:ledger", "of somebody else")
	if _, err := l.Exchange(t.Context(), 0); err == nil {
		t.Error("another's key was taken for a ledger")
	}
}

func TestAValueIsReadUpToABound(t *testing.T) {
	server := redistest.Start(t)
	r := startedRedis(t, server.Addr())
	server.Do("SET", "t:k", "0123456789")
	for most, want := range map[int64]string{4: "0123", 10: "0123456789", 99: "0123456789"} {
		if got, err := r.GetUpTo(t.Context(), "k", most); err != nil || string(got) != want {
			t.Errorf("%d: %q %v", most, got, err)
		}
	}
	if got, err := r.GetUpTo(t.Context(), "none", 9); err != nil || got != nil {
		t.Errorf("%q %v", got, err)
	}
}
