package store

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// Random arrivals and departures, beside a plain map.
func TestPlacesAreCountedPerKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	f := NewInFlight()
	const most = 4
	type taken struct {
		key   string
		place *Place
	}
	var in []taken
	count := map[string]int{}
	for range 20_000 {
		if len(in) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(in))
			f.Leave(in[i].place)
			if count[in[i].key]--; count[in[i].key] == 0 {
				delete(count, in[i].key)
			}
			in[i] = in[len(in)-1]
			in = in[:len(in)-1]
			continue
		}
		key := strconv.Itoa(rng.IntN(20))
		p := f.Enter([]byte(key), most)
		if (p != nil) != (count[key] < most) {
			t.Fatalf("%s with %d in progress: entered %v", key, count[key], p != nil)
		}
		if p != nil {
			in = append(in, taken{key, p})
			count[key]++
		}
		if f.Keys() != len(count) {
			t.Fatalf("%d keys are held, want %d", f.Keys(), len(count))
		}
	}
}
