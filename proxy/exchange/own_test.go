package exchange

import (
	"fmt"
	"strings"
	"testing"
)

func TestOwnedStringsKeepTheirValueUntilReset(t *testing.T) {
	for _, recycle := range []bool{false, true} {
		var f Fields
		if recycle {
			f.Recycle()
		}
		for round := range 3 {
			var got []string
			var scratch [64]byte
			for i := range 200 { // several blocks
				b := fmt.Appendf(scratch[:0], "%d-%d-%s", round, i, strings.Repeat("x", i%40))
				got = append(got, f.Own(b))
				clear(scratch[:])
			}
			got = append(got, f.Own([]byte(strings.Repeat("y", ownLargest+1))))
			for i, s := range got[:200] {
				if want := fmt.Sprintf("%d-%d-%s", round, i, strings.Repeat("x", i%40)); s != want {
					t.Fatalf("recycle %v, round %d: got %q, want %q", recycle, round, s, want)
				}
			}
			if f.Own(nil) != "" || len(got[200]) != ownLargest+1 {
				t.Error("nothing is not nothing, or much is not much")
			}
			f.Reset()
			if cap(f.own) > ownLargest {
				t.Error("a block beyond the bound was kept")
			}
		}
	}
}

func TestOwnedMemoryIsKeptOnlyWhereTheEngineSaysSo(t *testing.T) {
	var keep, drop Fields
	keep.Recycle()
	id := []byte("0123456789abcdef")
	for _, f := range []*Fields{&keep, &drop} {
		f.Own(id)
		f.Reset()
	}
	if n := testing.AllocsPerRun(100, func() { keep.Own(id); keep.Own(id); keep.Reset() }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	first := drop.Own(id)
	drop.Reset()
	drop.Own([]byte("another exchange"))
	if first != string(id) {
		t.Errorf("who read too late read %q", first)
	}
}

func TestRecyclingOutlivesTheExchange(t *testing.T) {
	x := &Exchange{}
	x.Request.Header.Recycle()
	x.Request.Header.Own([]byte("a"))
	x.Reset()
	if cap(x.Request.Header.own) == 0 {
		t.Error("Reset forgot it")
	}
}
