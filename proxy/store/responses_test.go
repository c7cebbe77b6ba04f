package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func never(int) bool { return false }

func put(r *Responses[int], uri, user string, v int, size int64, tags ...string) bool {
	return r.Put(Entry[int]{URI: []byte(uri), User: []byte(user), Value: v, Size: size, Epoch: r.Epoch([]byte(uri)),
		Tags: tags, Supersedes: func(old int) bool { return old == v }})
}

func get(r *Responses[int], uri, user string) []int {
	var out []int
	for _, h := range r.Variants([]byte(uri), []byte(user)) {
		h.Touch()
		out = append(out, h.Value)
	}
	return out
}

func TestUsersAndVariantsAreKeptApart(t *testing.T) {
	r := NewResponses[int](1<<20, 1000)
	put(r, "u", "", 1, 10)
	put(r, "u", "", 2, 10)
	put(r, "u", "a", 3, 10)
	put(r, "u", "", 1, 20) // supersedes
	for want, got := range map[string][]int{"[1 2]": get(r, "u", ""), "[3]": get(r, "u", "a"), "[]": get(r, "u", "b")} {
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if r.Len() != 3 {
		t.Errorf("%d kept, want 3", r.Len())
	}
	if n := r.Invalidate([]byte("u")); n != 3 || r.Len() != 0 || r.Bytes() != 0 {
		t.Errorf("invalidated %d, %d left, %d bytes", n, r.Len(), r.Bytes())
	}
}

func TestWhatWasAskedForBeforeAnInvalidationIsNotKept(t *testing.T) {
	r := NewResponses[int](1<<20, 1000)
	uri := []byte("u")
	e := r.Epoch(uri)
	r.Invalidate(uri)
	if r.Put(Entry[int]{URI: uri, Value: 1, Size: 10, Epoch: e, Supersedes: never}) {
		t.Error("kept")
	}
	if !r.Put(Entry[int]{URI: uri, Value: 1, Size: 10, Epoch: r.Epoch(uri), Supersedes: never}) {
		t.Error("not kept after")
	}
}

func TestVariantsAreBounded(t *testing.T) {
	r := NewResponses[int](1<<20, 1000)
	for i := range 3 * MaxVariants {
		put(r, "u", "", i, 10)
	}
	if got := get(r, "u", ""); len(got) != MaxVariants || got[0] != 3*MaxVariants-1 {
		t.Errorf("kept %v", got)
	}
}

// Whatever is done, the books agree with a walk over what is kept.
func TestBooksBalance(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const most = 200_000
	r := NewResponses[int](most, 1000)
	for i := range 20_000 {
		uri, user := fmt.Sprint("u", rng.IntN(100)), ""
		if rng.IntN(2) == 0 {
			user = fmt.Sprint("user", rng.IntN(5))
		}
		switch rng.IntN(12) {
		case 0:
			r.Invalidate([]byte(uri))
		case 1:
			for _, h := range r.Variants([]byte(uri), []byte(user)) {
				r.Remove(h)
				r.Remove(h)
			}
		case 2, 3, 4:
			get(r, uri, user)
		case 5:
			switch rng.IntN(40) {
			case 0:
				r.PurgeTag("t1")
			case 1:
				r.Purge(func(uri string) bool { return uri[len(uri)-1] == '7' })
			}
		default:
			tags := []string{"t1", "t2", uri}
			put(r, uri, user, rng.IntN(4), rng.Int64N(1000), tags[rng.IntN(4):]...)
		}
		if r.Bytes() > most {
			t.Fatalf("step %d: %d bytes, want at most %d", i, r.Bytes(), most)
		}
	}
	for i := range r.shards {
		s := &r.shards[i]
		n, bytes := 0, int64(0)
		for h := s.oldest; h != nil; h = h.newer {
			n, bytes = n+1, bytes+h.size
		}
		tagged, indexed := 0, 0
		for h := s.oldest; h != nil; h = h.newer {
			tagged += len(h.tags)
		}
		for tag, index := range s.tags {
			indexed += len(index)
			if len(index) == 0 {
				t.Fatalf("tag %s is kept empty", tag)
			}
		}
		if tagged != indexed {
			t.Fatalf("shard %d: %d tags, %d in the index", i, tagged, indexed)
		}
		mapped := 0
		for uri, g := range s.uris {
			if len(g.shared) == 0 && len(g.users) == 0 {
				t.Fatalf("%s is kept empty", uri)
			}
			mapped += len(g.shared)
			for _, l := range g.users {
				mapped += len(l)
			}
		}
		if n != s.count || mapped != s.count || bytes != s.bytes {
			t.Fatalf("shard %d: %d queued, %d mapped, %d counted; %d bytes, %d counted", i, n, mapped, s.count, bytes, s.bytes)
		}
	}
}

func TestAScanDoesNotWashOutWhatIsUsed(t *testing.T) {
	r := NewResponses[int](100*(Overhead+1000), 1000)
	for i := range 20 {
		put(r, fmt.Sprint("hot", i), "", i, 900)
	}
	for i := range 1000 {
		for j := range 20 {
			get(r, fmt.Sprint("hot", j), "")
		}
		put(r, fmt.Sprint("scan", i), "", i, 900)
	}
	left := 0
	for j := range 20 {
		left += len(get(r, fmt.Sprint("hot", j), ""))
	}
	if left != 20 {
		t.Errorf("%d of 20 hot answers left", left)
	}
}

func TestWhatHasNoRoomIsRefused(t *testing.T) {
	r := NewResponses[int](10_000, 1000)
	if put(r, "u", "", 1, 10_000) || r.Bytes() != 0 {
		t.Error("kept")
	}
	if !r.Reserve(2_500) || r.Reserve(1) || r.Bytes() != 2_500 {
		t.Errorf("%d bytes reserved", r.Bytes())
	}
	r.Free(2_500)
	if r.Bytes() != 0 {
		t.Error("not given back")
	}
}

func TestPurgeFindsByTagAndByURI(t *testing.T) {
	r := NewResponses[int](1<<20, 1000)
	fill := func() {
		r.Purge(func(string) bool { return true })
		put(r, "a/1", "", 1, 10, "red", "all")
		put(r, "a/2", "u", 2, 10, "all")
		put(r, "b/1", "", 3, 10)
		put(r, "b/1", "", 4, 10, "red")
	}
	for _, c := range []struct {
		name  string
		purge func() int
		gone  int
	}{
		{"a tag", func() int { return r.PurgeTag("red") }, 2},
		{"a tag of all users", func() int { return r.PurgeTag("all") }, 2},
		{"a tag nothing carries", func() int { return r.PurgeTag("re") }, 0},
		{"by URI", func() int { return r.Purge(func(uri string) bool { return uri[0] == 'a' }) }, 2},
		{"all", func() int { return r.Purge(func(string) bool { return true }) }, 4},
	} {
		fill()
		if n := c.purge(); n != c.gone || r.Len() != 4-c.gone {
			t.Errorf("%s: %d purged, %d left, want %d gone of 4", c.name, n, r.Len(), c.gone)
		}
	}
}

func TestWhatWasAskedForBeforeAPurgeIsNotKept(t *testing.T) {
	for name, purge := range map[string]func(r *Responses[int]){
		"by tag": func(r *Responses[int]) { r.PurgeTag("t") },
		"by URI": func(r *Responses[int]) { r.Purge(func(string) bool { return false }) },
	} {
		r := NewResponses[int](1<<20, 1000)
		e := r.Epoch([]byte("u"))
		purge(r)
		if r.Put(Entry[int]{URI: []byte("u"), Value: 1, Epoch: e, Tags: []string{"t"}, Supersedes: never}) {
			t.Errorf("%s: kept", name)
		}
	}
}

func TestHitsAreCounted(t *testing.T) {
	r := NewResponses[int](1<<20, 1000)
	put(r, "u", "", 1, 10)
	get(r, "u", "")
	get(r, "u", "")
	(&Held[int]{}).Touch() // one that is in no store
	if r.Hits() != 2 {
		t.Errorf("%d hits, want 2", r.Hits())
	}
}
