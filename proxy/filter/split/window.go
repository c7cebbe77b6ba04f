package split

import (
	"math"
	"time"
)

const (
	pieces  = 10 // of a window: what is older goes in such steps
	octave  = 8  // buckets in which a time doubles: each is 9% wide
	buckets = 20*octave + 1
	first   = 100 * time.Microsecond // the upper end of the first bucket; the last ends at 105 s
)

// window counts answers of the last while.
type window struct {
	part [pieces]tally
	at   int64 // the slice that part[at%pieces] is
}

type tally struct {
	n, failed uint32
	took      [buckets]uint32
}

// turn drops the slices that have become too old.
func (w *window) turn(now time.Time, length time.Duration) *tally {
	at := now.UnixNano() / max(int64(length)/pieces, 1)
	if gone := at - w.at; gone > 0 {
		for i := range min(gone, pieces) {
			w.part[(at-i)%pieces] = tally{}
		}
		w.at = at
	}
	return &w.part[w.at%pieces]
}

// add notes an answer. A failure's time says nothing: many come fast.
func (w *window) add(now time.Time, length time.Duration, failed bool, took time.Duration) {
	t := w.turn(now, length)
	t.n++
	if failed {
		t.failed++
		return
	}
	t.took[bucket(took)]++
}

func bucket(d time.Duration) int {
	if d <= first {
		return 0
	}
	return min(int(math.Ceil(octave*math.Log2(float64(d)/float64(first)))), buckets-1)
}

// upper is the longest time that falls into a bucket.
func upper(b int) time.Duration {
	return time.Duration(float64(first) * math.Exp2(float64(b)/octave))
}

// sums is a whole window.
type sums struct {
	n, failed int
	took      [buckets]int
}

func (w *window) sum(now time.Time, length time.Duration) sums {
	w.turn(now, length)
	var s sums
	for i := range w.part {
		t := &w.part[i]
		s.n += int(t.n)
		s.failed += int(t.failed)
		for b, n := range t.took {
			s.took[b] += int(n)
		}
	}
	return s
}

func (s *sums) timed() float64 { return float64(s.n - s.failed) }

// quantile is the time within which the part q was answered, up to 9% too long.
func (s *sums) quantile(q float64) time.Duration {
	left := int(math.Ceil(q * s.timed()))
	for b, n := range s.took {
		if left -= n; left <= 0 {
			return upper(b)
		}
	}
	return upper(buckets - 1)
}

// slower counts the answers that certainly took longer than limit, and all.
func (s *sums) slower(limit time.Duration) (slow, all float64) {
	for b := bucket(limit) + 1; b < buckets; b++ {
		slow += float64(s.took[b])
	}
	return slow, s.timed()
}
