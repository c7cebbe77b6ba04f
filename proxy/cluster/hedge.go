package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Hedge says when a request whose answer is late is sent to a second endpoint,
// while the first goes on: the first good answer of the two counts, and the other
// attempt is given up. It is for requests that only read.
type Hedge struct {
	Methods []string
	after   time.Duration
	usual   *quantile // nil: after is fixed
}

// hedgeSoonest is the shortest wait that a quantile may come to.
const hedgeSoonest = time.Millisecond

// HedgeAfter is a Hedge after a fixed time.
func HedgeAfter(d time.Duration, methods []string) *Hedge { return &Hedge{Methods: methods, after: d} }

// HedgeBeyond is a Hedge after what a share of q of the answers take no longer
// than, as measured.
func HedgeBeyond(q float64, methods []string) *Hedge {
	return &Hedge{Methods: methods, usual: &quantile{q: q}}
}

// wait is for how long the first attempt is alone; 0: no hedge, too little is
// known yet.
func (o *Hedge) wait() time.Duration {
	if o.usual == nil {
		return o.after
	}
	if d := o.usual.value(); d > 0 {
		return max(d, hedgeSoonest)
	}
	return 0
}

func (o *Hedge) observe(d time.Duration) {
	if o.usual != nil {
		o.usual.observe(d)
	}
}

func (o *Hedge) takes(method string) bool { return o != nil && slices.Contains(o.Methods, method) }

// hedges counts what became of them.
type hedges struct{ won, lost, failed, refused atomic.Uint64 }

// errHedged is the cancellation cause of the attempt that was not needed.
var errHedged = errors.New("cluster: the other attempt was answered")

// hedge is an attempt of which there may be a second. The first runs where the
// exchange does, with a life of its own; the second in a goroutine, on a copy.
type hedge struct {
	c       *Cluster
	o       *Options
	x       *exchange.Exchange
	outer   *exchange.Life  // the exchange's
	inner   *exchange.Life  // the first attempt's, which ends with it
	body    *exchange.Bytes // the second's own view of the request's; nil without
	done    chan struct{}   // closed when the second has come to an end
	adopted bool            // its answer is the exchange's

	mu    sync.Mutex     // also held while the request is being changed
	avoid tried          // by earlier attempts, and then by the second
	first *member        // whom the first attempt asks
	over  bool           // no second any more, or it has lost
	other *exchange.Life // the second's, once it has begun
	won   *run           // the second, if it was first to get a good answer
}

// single is why an exchange has no second attempt; zero when it may have one.
type single uint8

const (
	_             single = iota
	hadSecond            // there was one already
	otherMethod          // Hedge.Methods does not name its method
	otherProtocol        // it asks for another protocol
	bodyStreams          // its body is not kept
	isCopy               // it is a copy
)

func (r *run) single() single {
	switch x := r.x; {
	case r.hedged:
		return hadSecond
	case !r.o.Hedge.takes(x.Request.Method):
		return otherMethod
	case x.Request.Upgrade != "":
		return otherProtocol
	case !r.replay:
		return bodyStreams
	case x.Mirror:
		return isCopy
	}
	return 0
}

// twofold makes an attempt that a second may overtake.
func (r *run) twofold() *exchange.Fault {
	x, o := r.x, r.o
	wait := o.Hedge.wait()
	if wait == 0 {
		fault := r.once()
		r.timed(fault)
		return fault
	}
	h := &hedge{c: r.c, o: o, x: x, outer: x.Life(), inner: x.Life().Branch(), done: make(chan struct{}), avoid: r.seen}
	if b, ok := x.Request.Body.(*exchange.Bytes); ok {
		own := *b
		h.body = &own
	}
	x.Live(h.inner)
	r.hedge = h
	defer r.alone(h) // also after a panic
	timer := time.AfterFunc(wait, h.run)
	defer timer.Stop()

	fault := r.once()
	timer.Stop()
	return r.decide(h, fault)
}

// alone ends what twofold began.
func (r *run) alone(h *hedge) {
	r.x.Live(h.outer)
	r.hedge = nil
	h.mu.Lock()
	w, other := h.won, h.other
	h.over = true
	h.mu.Unlock()
	if h.adopted || other == nil {
		return
	}
	if other.Cancel(errHedged); w != nil {
		go w.giveUp() // that may take waiting, which an event loop must not
	}
}

// giveUp ends a second attempt whose answer nobody gets.
func (r *run) giveUp() {
	x := r.x
	x.DropResponse()
	x.RunDone()
}

// decide takes the first good answer, waiting for the second's if it must.
func (r *run) decide(h *hedge, fault *exchange.Fault) *exchange.Fault {
	x := r.x
	h.mu.Lock()
	begun := h.other != nil
	h.over = h.won == nil && (r.good(fault) || !begun)
	over := h.over
	h.mu.Unlock()
	if r.hedged = begun; begun {
		x.Attempts++
	}
	if over {
		r.timed(fault)
		return fault
	}
	x.Live(h.outer)
	err := x.Await(func(ctx context.Context) error {
		select {
		case <-h.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	h.mu.Lock()
	w, failed := h.won, h.avoid
	h.over = true
	h.mu.Unlock()
	for _, m := range failed.list[:failed.n] {
		if m != h.first { // what becomes of that is the first's to say
			r.seen.add(m)
		}
	}
	switch {
	case w != nil:
		h.adopted = true
		r.adopt(w, fault != nil && errors.Is(fault.Err, errHedged))
		return nil
	case err != nil:
		r.drop()
		return r.explain(fault)
	}
	return fault
}

// good reports whether the attempt got an answer that is as good as any.
func (r *run) good(fault *exchange.Fault) bool {
	return fault == nil && r.x.Response.Status < 500 && !failing(r.x) && !r.failed()
}

// timed notes how long an answer took.
func (r *run) timed(fault *exchange.Fault) {
	if fault == nil && r.x.Response.Status < 500 {
		r.o.Hedge.observe(r.x.Answered.Sub(r.x.Sent))
	}
}

// asks notes whom the first attempt asks.
func (h *hedge) asks(m *member) {
	h.mu.Lock()
	h.first = m
	h.mu.Unlock()
}

// run is the second attempt. It is called when the first has taken long.
func (h *hedge) run() {
	r := h.begin()
	if r == nil {
		return
	}
	defer close(h.done)
	fault := r.guarded()
	h.mu.Lock()
	good := r.good(fault)
	won := good && !h.over
	if won {
		h.won = r
	} else if h.avoid = r.seen; r.serving != nil {
		h.avoid.add(r.serving)
	}
	h.mu.Unlock()
	switch n := &h.c.hedges; {
	case won:
		n.won.Add(1)
		h.inner.Cancel(errHedged)
		return // who began it ends it
	case good, errors.Is(r.x.Ended(), errHedged):
		n.lost.Add(1)
	default:
		n.failed.Add(1)
	}
	r.giveUp()
}

// begin makes the second attempt's exchange, if there may be one: somebody else
// to ask, a place in the service's limit, and the retry budgets.
func (h *hedge) begin() *run {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.outer.Ended() != nil {
		return nil
	}
	if h.first != nil {
		h.avoid.add(h.first)
	}
	r := newRun()
	r.c, r.o, r.seen, r.replay, r.second = h.c, h.o, h.avoid, true, true
	if !r.elsewhere() || h.c.limit != nil && !h.c.limit.take() {
		h.c.hedges.refused.Add(1)
		r.end()
		return nil
	}
	r.placed = h.c.limit != nil
	x := h.x
	y := x.Detached()
	y.Service, y.Deadline, y.BeforeWrite, y.Request.Length = x.Service, x.Deadline, x.BeforeWrite, x.Request.Length // and nothing to spare
	if h.body != nil {
		y.Request.Body, y.Request.Trailer = h.body, x.Request.Trailer.Clone()
	}
	if x.Txn != nil {
		y.Txn.Deadline, y.Txn.Spent = x.Txn.Deadline, x.Txn.Spent
	}
	y.OnDone(r.over)
	if r.x = y; !r.affords() {
		h.c.hedges.refused.Add(1)
		y.RunDone()
		return nil
	}
	h.other = h.outer.Branch()
	y.Live(h.other)
	return r
}

// affords takes one retry from the transaction's budget and from the service's. One
// that is not made costs neither.
func (r *run) affords() bool {
	if !r.ofPurse() {
		return false
	}
	if r.c.budget.withdraw(time.Now()) {
		return true
	}
	if p := r.purse(); p != nil {
		p.Add(-1)
	}
	return false
}

// guarded is the second attempt itself. A connection that proves stale is
// replaced, as for any other.
func (r *run) guarded() (fault *exchange.Fault) {
	defer func() {
		if v := recover(); v != nil {
			fault = asFault(fmt.Errorf("cluster: panic in a hedged attempt: %v", v))
			r.c.cfg.Log.Error("panic", "doing", "hedge", "service", r.c.cfg.Service, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	for {
		fault = r.once()
		again, counts := r.again(fault)
		if fault == nil || !again || counts || r.x.Ended() != nil {
			return fault
		}
		r.free++
		r.drop()
		r.rewind()
	}
}

// adopt makes the second attempt's answer the exchange's. cut: the first was given
// up for it, and would have taken longer still.
func (r *run) adopt(w *run, cut bool) {
	x, y := r.x, w.x
	took := y.Answered.Sub(y.Sent)
	if cut {
		took = time.Since(x.Sent)
		if r.c.cfg.Balance == "peak_ewma" && r.last != nil {
			r.last.cost.observe(took, clock())
		}
	}
	r.o.Hedge.observe(took)
	r.drop()
	if w.placed {
		w.c.limit.give()
		w.placed = false
	}
	r.fault, r.below, r.app = nil, w.below, w.app
	x.Endpoint, x.Sent, x.Answered = y.Endpoint, y.Sent, y.Answered
	if x.Txn == nil {
		x.Txn = y.Txn
	}
	to, from := &x.Response, &y.Response
	to.Status, to.Proto, to.Length = from.Status, from.Proto, from.Length
	to.Header.Replace(&from.Header) // the second's memory is not used again: its strings last
	if from.Body != nil {
		to.Body = &overtaking{ReadCloser: from.Body, x: x, from: from}
	}
	x.OnDone(func() {
		_ = x.Await(func(context.Context) error {
			y.RunDone()
			return nil
		})
	})
}

// overtaking is the body of a second attempt's answer. It is read as goroutines
// read, which an event loop must not wait for. That something is ready is not
// enough: it may be no more than a piece of a chunk's size line.
type overtaking struct {
	io.ReadCloser
	x    *exchange.Exchange
	from *exchange.Response
}

// Read implements io.Reader.
func (b *overtaking) Read(p []byte) (n int, err error) {
	if exchange.Whole(b.ReadCloser) {
		n, err = b.ReadCloser.Read(p)
	} else {
		err = b.x.Await(func(context.Context) (err error) {
			n, err = b.ReadCloser.Read(p)
			return err
		})
	}
	if err == io.EOF {
		b.x.Response.Trailer.Replace(&b.from.Trailer)
	}
	return n, err
}

// Close implements io.Closer.
func (b *overtaking) Close() error {
	return b.x.Await(func(context.Context) error { return b.ReadCloser.Close() })
}

// Ready and Whole pass on what exchange.Ready and exchange.Whole ask.
func (b *overtaking) Ready() bool { return exchange.Ready(b.ReadCloser) }

// Whole is Ready's twin.
func (b *overtaking) Whole() bool { return exchange.Whole(b.ReadCloser) }
