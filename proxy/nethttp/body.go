package nethttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// linger is how long net/http may go on discarding an unwanted upload after
// the answer, so that the client reads the answer before its connection is
// reset.
const linger = 500 * time.Millisecond

// inBody is a request body: counted, limited, and safe to be read by a
// transport's goroutine that outlives the exchange.
type inBody struct {
	in      *inbound
	src     io.Reader
	limit   int64         // 0 is unlimited
	timed   bool          // a read deadline is set
	within  time.Duration // the limit it is for, 0: the listener's
	n       atomic.Int64
	started atomic.Bool
	eof     atomic.Bool
	closed  atomic.Bool

	mu  sync.Mutex // held while reading
	err error      // sticky
	x   *exchange.Exchange

	watching sync.Mutex
	life     *exchange.Life // watched while there is more to come; nil otherwise
	stopped  bool           // the exchange was cancelled meanwhile
}

func (b *inBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil {
		return 0, b.err
	}
	if !b.started.Swap(true) {
		b.watch(b.x.Life())
		b.in.sendContinue()
	}
	if cause := b.cancelled(); cause != nil {
		b.err = cause
		return 0, cause
	}
	if b.limit > 0 && len(p) > 0 {
		// One byte beyond the limit tells an exact fit from too much.
		p = p[:min(int64(len(p)), b.limit-b.n.Load()+1)]
	}
	n, err := b.src.Read(p)
	total := b.n.Add(int64(n))
	switch {
	case b.limit > 0 && total > b.limit:
		b.n.Store(b.limit)
		b.err = tooLarge(b.limit)
		return n - int(total-b.limit), b.err
	case err == io.EOF:
		b.end()
	case err != nil:
		err = b.broken(err)
	}
	b.err = err
	return n, err
}

// watch has the exchange's end, its route's timeout above all, interrupt who
// waits for the client.
func (b *inBody) watch(life *exchange.Life) {
	b.watching.Lock()
	b.life = life
	b.watching.Unlock()
	life.Watch(b)
}

// unwatch reports whether the exchange was cancelled before.
func (b *inBody) unwatch() (stopped bool) {
	b.watching.Lock()
	life := b.life
	b.life, stopped = nil, b.stopped
	b.watching.Unlock()
	if life != nil {
		life.Unwatch(b)
	}
	return stopped
}

// Wake implements exchange.Waker.
func (b *inBody) Wake() {
	b.watching.Lock()
	defer b.watching.Unlock()
	// It may come late, from an exchange that is over.
	if b.life != nil && b.life.Ended() != nil {
		b.stopped = true
		_ = b.in.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// cancelled is why the exchange has ended, if that was before the body's end.
func (b *inBody) cancelled() error {
	b.watching.Lock()
	defer b.watching.Unlock()
	if !b.stopped || b.life == nil {
		return nil
	}
	return fmt.Errorf("nethttp: reading the request body: %w", b.life.Ended())
}

// Within implements what exchange.Within asks.
func (b *inBody) Within(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil || b.closed.Load() || b.eof.Load() {
		return
	}
	b.watching.Lock()
	defer b.watching.Unlock()
	if b.stopped {
		return // the exchange's end is the nearer one
	}
	var until time.Time
	if r := b.in.s.cfg.RequestTimeout; r > 0 {
		until = b.x.Start.Add(r)
	}
	if b.within = 0; d > 0 {
		if t := time.Now().Add(d); until.IsZero() || t.Before(until) {
			until, b.within = t, d
		}
	}
	b.timed = b.in.rc.SetReadDeadline(until) == nil && !until.IsZero()
}

// end is called at EOF, with mu held.
func (b *inBody) end() {
	if b.unwatch() || b.timed {
		_ = b.in.rc.SetReadDeadline(time.Time{})
	}
	addTrailer(&b.x.Request.Trailer, b.in.r.Trailer, strings.Join(b.in.r.Header["Connection"], ","))
	b.eof.Store(true)
}

func (b *inBody) broken(err error) error {
	if cause := b.cancelled(); cause != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return cause
	}
	if b.timed && errors.Is(err, os.ErrDeadlineExceeded) {
		limit := b.in.s.cfg.RequestTimeout
		if b.within > 0 {
			limit = b.within
		}
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestTimeout, Code: "request-timeout",
			Title: "Request took too long", Detail: "the request body did not arrive within " + limit.String(),
			Close: true, Err: err}
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
		Title: "Request body is incomplete", Close: true, Err: err}
}

// Close makes further reads fail. It never waits: what is left of the upload
// is dealt with when the exchange is over.
func (b *inBody) Close() error {
	b.closed.Store(true)
	return nil
}

// finish ends every use of the exchange by a reader, waking one that waits for
// the client, and reports whether there was none.
func (b *inBody) finish() (quiet bool) {
	b.unwatch()
	b.closed.Store(true)
	quiet = b.mu.TryLock()
	if !quiet {
		_ = b.in.rc.SetReadDeadline(time.Unix(1, 0))
		b.mu.Lock()
	}
	b.x = nil
	b.mu.Unlock()
	if !b.eof.Load() {
		_ = b.in.rc.SetReadDeadline(time.Now().Add(linger))
	}
	return quiet
}
