package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/store/redistest"
)

var errStillHeld = errors.New("still held")

func TestHashAndItsLocks(t *testing.T) {
	for _, mode := range []string{"single", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			var addrs []string
			if mode == "single" {
				addrs = []string{redistest.Start(t).Addr()}
			} else {
				for _, s := range redistest.Cluster(t, 3) {
					addrs = append(addrs, s.Addr())
				}
			}
			r := open(t, store.RedisConfig{Mode: mode, Addresses: addrs})
			awaitState(t, r, true)
			h, ctx := r.Hash("acme"), t.Context()
			if fields, err := h.Fields(ctx); err != nil || len(fields) != 0 {
				t.Errorf("%v %v", fields, err)
			}
			for _, f := range []string{"a", "b/c", "d"} {
				if err := h.Set(ctx, f, []byte(f+"\x00\xff")); err != nil {
					t.Fatal(err)
				}
			}
			if v, found, err := h.Get(ctx, "b/c"); err != nil || !found || string(v) != "b/c\x00\xff" {
				t.Errorf("%q %t %v", v, found, err)
			}
			if err := h.Delete(ctx, "a", "d", "none"); err != nil {
				t.Fatal(err)
			}
			if _, found, err := h.Get(ctx, "a"); err != nil || found {
				t.Errorf("deleted: %t %v", found, err)
			}
			if fields, err := h.Fields(ctx); err != nil || strings.Join(slices.Sorted(slices.Values(fields)), " ") != "b/c" {
				t.Errorf("%v %v", fields, err)
			}
			lock := func(token string, ttl time.Duration, want bool) {
				t.Helper()
				if got, err := h.Lock(ctx, "x", token, ttl); err != nil || got != want {
					t.Errorf("%s: %t %v", token, got, err)
				}
			}
			lock("one", time.Minute, true)
			lock("one", time.Minute, true) // extended, or sent twice
			lock("two", time.Minute, false)
			if err := h.Unlock(ctx, "x", "two"); err != nil {
				t.Fatal(err)
			}
			lock("two", time.Minute, false)
			for range 2 {
				if err := h.Unlock(ctx, "x", "one"); err != nil {
					t.Fatal(err)
				}
			}
			lock("two", 5*time.Millisecond, true)
			redistest.WaitFor(t, "the end of a dead holder's lock", func() error {
				if ok, err := h.Lock(ctx, "x", "three", time.Minute); err != nil || !ok {
					return errStillHeld
				}
				return nil
			})
		})
	}
}
