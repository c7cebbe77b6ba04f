package http1

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

var errBodyOver = errors.New("http1: the request body was read after its exchange")

// inBody is a request body. It is read by one task at a time, which need not
// be the connection's own: an upload may go on while the answer is written.
// Whoever reads it has left it once the exchange's OnDone functions have run.
type inBody struct {
	c       *conn
	x       *exchange.Exchange
	left    int64 // of a body of known length
	chunked bool
	trailer bool // the chunks are over, their trailer section is not
	chunks  chunkDecoder
	named   string        // the Connection field, if fields go with it
	limit   int64         // 0 is unlimited
	n       atomic.Int64  // bytes handed out
	timed   bool          // a read deadline is set
	within  time.Duration // the limit it is for, 0: the listener's
	expect  bool          // the client waits for 100

	started   atomic.Bool
	continued atomic.Bool
	busy      atomic.Bool // somebody is reading
	closed    atomic.Bool
	eof       atomic.Bool
	err       error // sticky

	mu      sync.Mutex
	life    *exchange.Life // watched while there is more to come; nil otherwise
	stopped bool           // the exchange was cancelled meanwhile
}

func (b *inBody) begin(c *conn, x *exchange.Exchange, f framing) {
	b.c, b.x = c, x
	b.left, b.chunked, b.trailer, b.limit = max(f.length, 0), f.chunked, false, c.s.cfg.BodyBytes
	b.chunks, b.named = chunkDecoder{}, f.connection
	b.n.Store(0)
	b.err, b.timed, b.within, b.expect, b.stopped = nil, false, 0, x.Request.Expect, false
	b.started.Store(false)
	b.continued.Store(false)
	b.closed.Store(false)
	none := !f.chunked && f.length == 0
	b.eof.Store(none)
	if !none {
		x.Request.Body = b
	}
}

// Read implements io.Reader.
func (b *inBody) Read(p []byte) (int, error) {
	b.busy.Store(true)
	defer b.busy.Store(false)
	switch {
	case b.closed.Load():
		return 0, errBodyOver
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	if !b.started.Swap(true) {
		b.first()
	}
	if cause := b.cancelled(); cause != nil {
		b.err = cause
		return 0, cause
	}
	if b.limit > 0 {
		// One byte beyond the limit tells an exact fit from too much.
		p = p[:min(int64(len(p)), b.limit-b.n.Load()+1)]
	}
	n, err := b.read(p)
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

// Ready implements what exchange.Ready asks.
func (b *inBody) Ready() bool {
	switch {
	case b.expect && !b.continued.Load():
		return false
	case b.err != nil:
		return true
	case b.chunked:
		return len(b.c.buf.unread()) >= readyChunk
	}
	return b.left == 0 || len(b.c.buf.unread()) > 0
}

// Whole reports whether all of it has arrived, so that reading never waits.
func (b *inBody) Whole() bool {
	return !b.chunked && b.left <= int64(len(b.c.buf.unread())) && (!b.expect || b.continued.Load())
}

// first is called before anything is read.
func (b *inBody) first() {
	if d := b.c.s.cfg.RequestTimeout; d > 0 && !b.timed {
		b.timed = true
		_ = b.c.raw.SetReadDeadline(b.x.Start.Add(d))
	}
	if !b.Whole() {
		b.watch(b.x.Life())
	}
	if b.expect {
		b.sendContinue()
	}
}

// watch has the exchange's end, its route's timeout above all, interrupt who
// waits for the client.
func (b *inBody) watch(life *exchange.Life) {
	b.mu.Lock()
	b.life = life
	b.mu.Unlock()
	life.Watch(b)
}

func (b *inBody) unwatch() {
	b.mu.Lock()
	life := b.life
	b.life = nil
	b.mu.Unlock()
	if life != nil {
		life.Unwatch(b)
	}
}

// Wake implements exchange.Waker.
func (b *inBody) Wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	// It may come late, from an exchange that is over.
	if b.life != nil && b.life.Ended() != nil {
		b.stopped = true
		_ = b.c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// cancelled is why the exchange has ended, if that was before the body's end.
func (b *inBody) cancelled() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped || b.life == nil {
		return nil
	}
	return fmt.Errorf("http1: reading the request body: %w", b.life.Ended())
}

// Within implements what exchange.Within asks. It is for the task that reads.
func (b *inBody) Within(d time.Duration) {
	if b.err != nil || b.closed.Load() || b.eof.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return // the exchange's end is the nearer one
	}
	var until time.Time
	if r := b.c.s.cfg.RequestTimeout; r > 0 {
		until = b.x.Start.Add(r)
	}
	if b.within = 0; d > 0 {
		if t := time.Now().Add(d); until.IsZero() || t.Before(until) {
			until, b.within = t, d
		}
	}
	b.timed = !until.IsZero()
	_ = b.c.raw.SetReadDeadline(until)
}

func (b *inBody) read(p []byte) (int, error) {
	if b.chunked {
		return b.readChunked(p)
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.left)]
	n := b.c.buf.take(p)
	if n == 0 {
		var err error
		if n, err = b.c.nc.Read(p); n == 0 && err != nil {
			return 0, unexpected(err)
		}
	}
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *inBody) readChunked(p []byte) (int, error) {
	buf := b.c.buf
	for {
		if b.trailer {
			used, done, err := b.chunks.trailers(buf.unread(), b.c.s.lim, &b.x.Request.Trailer)
			switch {
			case err != nil:
				return 0, err
			case done:
				b.x.Request.Trailer.DropNominated(b.named)
				buf.r += used
				return 0, io.EOF
			case len(buf.unread()) > b.c.s.lim.bytes:
				return 0, errTrailerTop
			}
		} else if left, in := b.chunks.remaining(); in && len(buf.unread()) == 0 && left > 0 {
			// Straight from the socket to whoever wants it.
			n, err := b.c.nc.Read(p[:min(int64(len(p)), left)])
			b.chunks.took(n)
			if n > 0 {
				return n, nil
			}
			return 0, unexpected(err)
		} else if len(buf.unread()) > 0 {
			used, n, done, err := b.chunks.decode(buf.unread(), p)
			buf.r += used
			b.trailer = done
			switch {
			case err != nil:
				return 0, err
			case n > 0:
				return n, nil
			case done:
				continue
			}
		}
		n, err := b.c.nc.Read(buf.room(1 << 10))
		buf.w += n
		if n == 0 && err != nil {
			return 0, unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *inBody) end() {
	b.untime()
	b.eof.Store(true)
}

func (b *inBody) untime() {
	b.unwatch()
	if b.timed || b.stopped {
		b.timed, b.stopped = false, false
		_ = b.c.raw.SetReadDeadline(time.Time{})
	}
}

func (b *inBody) broken(err error) error {
	if cause := b.cancelled(); cause != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return cause
	}
	if b.timed && errors.Is(err, os.ErrDeadlineExceeded) && !b.closed.Load() {
		limit := b.c.s.cfg.RequestTimeout
		if b.within > 0 {
			limit = b.within
		}
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestTimeout, Code: "request-timeout",
			Title: "Request took too long", Detail: "the request body did not arrive within " + limit.String(),
			Close: true, Err: err}
	}
	f := &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
		Title: "Request body is incomplete", Close: true, Err: err}
	if _, malformed := err.(*codecError); malformed {
		f.Code, f.Title, f.Detail = "bad-body", "Request body is malformed", strings.TrimPrefix(err.Error(), "http1: ")
	}
	return f
}

func (b *inBody) expects() bool { return b.expect }

// sendContinue sends the client's 100, once.
func (b *inBody) sendContinue() {
	if b.expect && !b.continued.Swap(true) {
		b.c.out.interim(b.c, http.StatusContinue, nil)
	}
}

// Close makes further reads fail. It never waits: what is left of the upload
// is dealt with when the exchange is over.
func (b *inBody) Close() error {
	b.closed.Store(true)
	return nil
}

// finish ends every use of the body, waking a task that waits for the client.
func (b *inBody) finish() {
	b.unwatch()
	b.closed.Store(true)
	if b.busy.Load() && !b.eof.Load() {
		_ = b.c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// over reports whether it has been read to its end.
func (b *inBody) over() bool { return b.eof.Load() }

// discard throws away what is left if all of it has arrived.
func (b *inBody) discard() bool {
	if b.busy.Load() || b.err != nil || b.expect || !b.Whole() {
		return false
	}
	b.untime()
	b.c.buf.r += int(b.left)
	return true
}
