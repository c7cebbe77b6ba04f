package cluster

import (
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// run is one Forward in progress. It is taken from a pool and goes back when the
// exchange is over, with its methods bound once: binding them for every exchange
// would cost an allocation each.
type run struct {
	c       *Cluster
	x       *exchange.Exchange
	o       *Options
	seen    tried
	fault   *exchange.Fault
	serving *member   // the endpoint whose answer x holds
	last    *member   // the endpoint of the attempt in progress
	key     uint64    // of the exchange, for consistent_hash
	keyed   bool      // key is known
	cookie  string    // Set-Cookie for a client that had no key; "" when none
	free    int       // stale connections replaced so far
	replay  bool      // the request body can be sent again
	hurried bool      // the deadline is the caller's, not the route's
	upload  *upload   // the request body while it streams, nil when there is none
	kept    *kept     // what of it is remembered, nil when nothing is
	below   int       // retries that those behind the answer have made
	mesh    bool      // a mesh peer was asked
	app     string    // what it said came of its app
	holds   bool      // the attempt counts as busy there
	visited bool      // the endpoint's breaker let the attempt in
	placed  bool      // it has a place in the service's limit
	hedge   *hedge    // there may be a second attempt beside the one in progress
	hedged  bool      // there was one
	second  bool      // it is the second of two attempts
	now     time.Time // when the deadline was set; zero once that is past

	try  func() (struct{}, error) // attempt
	call func() (struct{}, error) // visit
	over func()                   // end
}

var runs sync.Pool // of *run

func newRun() *run {
	if r, ok := runs.Get().(*run); ok {
		return r
	}
	r := new(run)
	r.try, r.call, r.over = r.judged, r.visit, r.end
	return r
}

// end is called when the exchange is over: the run is another's from here on.
func (r *run) end() {
	r.release()
	if r.placed {
		r.c.limit.give()
	}
	*r = run{try: r.try, call: r.call, over: r.over}
	runs.Put(r)
}

// release ends the attempt's share in its endpoint. Further calls do nothing.
func (r *run) release() {
	if r.holds {
		r.serving.busy.Add(-1)
		r.c.inHand.Add(-1)
	}
	r.serving, r.holds = nil, false
}

// since is the present time, read from the monotonic clock alone: half the price
// of time.Now, and four such readings are a tenth of what an exchange costs here.
func since(earlier time.Time) time.Time {
	if earlier.IsZero() {
		return time.Now()
	}
	return earlier.Add(time.Since(earlier))
}
