package store

import (
	"sync"
	"time"
)

// lease is what a process knows of one key that all share.
type lease struct {
	id      limitKey
	key     string // in Redis
	permits int64  // at hand
	until   int64  // they are lost after
	ahead   int64  // taken besides what was waited for, last time
	refused int64  // a cost that was refused; 0 none
	next    int64  // when it, or more, may be asked for again
	retry   int64  // when it is let through, as was said
	told    Taken  // by Redis, the last time
	at      int64  // when

	running bool // somebody asks Redis
	waiting []*waiter
}

// waiter is one request that Redis must be asked for.
type waiter struct {
	cost  int64
	told  chan struct{} // closed once it is decided
	done  bool          // decided, or given up
	taken Taken
	err   error
}

func (w *waiter) tell(t Taken, err error) {
	if !w.done {
		w.done, w.taken, w.err = true, t, err
		close(w.told)
	}
}

// try decides without Redis.
func (e *lease) try(now, cost int64) (Taken, bool) {
	if now >= e.until {
		e.permits = 0
	}
	if e.permits >= cost {
		e.permits -= cost
		return e.report(now, true), true
	}
	if e.refused > 0 && cost >= e.refused && now < e.next {
		t := e.report(now, false)
		t.Retry = time.Duration(e.retry - now)
		return t, true
	}
	return Taken{}, false
}

// report is what Redis said, brought up to date: permits at hand are still
// there to be had, and time has passed.
func (e *lease) report(now int64, ok bool) Taken {
	t, passed := e.told, time.Duration(now-e.at)
	t.OK, t.Retry = ok, 0
	for i := range t.Each {
		q := &t.Each[i]
		q.Remaining += e.permits
		q.Full = max(0, q.Full-passed)
		if q.Retry = max(0, q.Retry-passed); q.Remaining > 0 {
			q.Retry = 0
		}
	}
	return t
}

// want is what to ask Redis for: at least enough for the first who waits, at
// most enough for all like it who wait and, if the last lease did not last, a
// growing number ahead. Nothing when nobody waits.
func (e *lease) want(now, most int64) (least, all, cost int64) {
	e.serve(now, 0)
	sum := int64(0)
	for _, w := range e.waiting {
		if cost == 0 {
			cost = w.cost
		}
		if w.cost == cost {
			sum += w.cost
		}
	}
	if sum == 0 {
		return 0, 0, 0
	}
	if now >= e.until {
		e.ahead = 0 // the key is not in demand
	} else {
		e.ahead = min(2*e.ahead+1, most-1)
	}
	return cost - e.permits, sum - e.permits + e.ahead, cost
}

// granted notes an answer to a question asked at the time began.
func (e *lease) granted(n int64, t Taken, cost, began, lasts int64) {
	e.permits += n
	e.until, e.at, e.told = began+lasts, began, t
	e.refused = 0
	if t.Retry > 0 {
		// Until then nothing can have come back. Redis is asked again all the
		// same once per lease: somebody may have cleared it.
		e.refused, e.retry = cost, began+int64(t.Retry)
		e.next = min(e.retry, began+lasts)
	}
}

// serve gives permits at hand to those who wait, in their order. Those of cost
// are refused when none are left: Redis has just been asked for all of them.
func (e *lease) serve(now, cost int64) {
	rest := e.waiting[:0]
	for _, w := range e.waiting {
		if w.done {
			continue
		}
		t, ok := e.try(now, w.cost)
		if !ok && w.cost == cost && !e.told.OK {
			t, ok = e.report(now, false), true
			t.Retry = max(1, time.Duration(e.retry-now))
		}
		if !ok {
			rest = append(rest, w)
			continue
		}
		w.tell(t, nil)
	}
	clear(e.waiting[len(rest):])
	e.waiting = rest
}

// fail tells everybody who waits that nothing is known.
func (e *lease) fail(err error) {
	for _, w := range e.waiting {
		w.tell(Taken{}, err)
	}
	e.waiting = nil
}

// leaseShard remembers leases for a while: those used since the last turn, and
// those of the turn before.
type leaseShard struct {
	mu          sync.Mutex
	max         int
	now, before map[limitKey]*lease
	_           [64]byte
}

func (s *leaseShard) find(k limitKey) *lease {
	if e := s.now[k]; e != nil {
		return e
	}
	e := s.before[k]
	if e != nil {
		delete(s.before, k)
		s.add(e)
	}
	return e
}

// add makes room by forgetting what was not used for longest. Permits that are
// forgotten are lost. Who is being waited for stays.
func (s *leaseShard) add(e *lease) {
	if len(s.now) >= s.max {
		running := map[limitKey]*lease{}
		for k, e := range s.before {
			if e.running {
				running[k] = e
			}
		}
		s.before, s.now = s.now, running
	}
	s.now[e.id] = e
}
