package nethttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

var errSendEnded = errors.New("nethttp: the request body is not wanted any more")

// sendBody is the request body as net/http's transport reads it, in a
// goroutine that may outlive the exchange. A pump reads the client, so that
// neither a failed attempt nor an early answer has to wait for a client that
// has stopped sending; end() cuts the tie to the exchange.
type sendBody struct {
	src     io.ReadCloser
	x       *exchange.Exchange // guarded by mu; nil once ended
	trailer http.Header        // the http.Request's, filled at EOF
	memory  bool               // src never blocks
	ctx     context.Context    // the exchange's
	lost    <-chan struct{}    // the connection is closed

	mu      sync.Mutex
	done    chan struct{}
	ended   bool
	started bool
	pumped  chan struct{} // closed when the pump has left src for good
	gate    *gate         // nil unless the client expects 100

	ready chan piece
	free  chan struct{}
	buf   *[]byte
	cur   piece
	taken atomic.Int64 // bytes read from src
	cause error        // src's own error, guarded by mu
}

type piece struct {
	b   []byte
	err error
}

// gate decides whether an Expect: 100-continue body may be asked for. net/http
// lets the body go on 100, on a final answer and after a while of silence; a
// final answer must not draw the body out of the client.
type gate struct{ continued, final atomic.Bool }

func newSendBody(x *exchange.Exchange, trailer http.Header, lost <-chan struct{}) *sendBody {
	b := &sendBody{src: x.Request.Body, x: x, trailer: trailer, done: make(chan struct{})}
	b.ctx, b.lost = x.Context(), lost
	_, b.memory = b.src.(*exchange.Bytes)
	if x.Request.Expect {
		b.gate = new(gate)
	}
	if !b.memory {
		x.OnDone(b.settle)
	}
	return b
}

// settle waits until the pump has left src. Filters wrap the body, and what
// they do after the innermost read touches the exchange, which is about to be
// used again. It takes no time: the engine has ended all reads by then.
func (b *sendBody) settle() {
	b.end()
	b.mu.Lock()
	pumped := b.pumped
	b.mu.Unlock()
	if pumped != nil {
		<-pumped
	}
}

func (b *sendBody) Read(p []byte) (int, error) {
	if b.memory {
		return b.readMemory(p)
	}
	if err := b.start(); err != nil {
		return 0, err
	}
	if len(b.cur.b) == 0 && b.cur.err == nil {
		if !b.wait(b.ready) {
			return 0, errSendEnded
		}
	}
	n := copy(p, b.cur.b)
	b.cur.b = b.cur.b[n:]
	if len(b.cur.b) > 0 {
		return n, nil
	}
	if b.cur.err == nil {
		b.free <- struct{}{}
		return n, nil
	}
	if b.buf != nil {
		buffers.Put(b.buf)
		b.buf = nil
	}
	return n, b.finish(b.cur.err)
}

func (b *sendBody) readMemory(p []byte) (int, error) {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return 0, errSendEnded
	}
	n, err := b.src.Read(p)
	b.taken.Add(int64(n))
	b.mu.Unlock()
	if err != nil {
		err = b.finish(err)
	}
	return n, err
}

// wait takes the pump's next piece. It gives up when nobody will want it:
// net/http reports a lost connection or a cancellation only after its reader
// of the body has come back.
func (b *sendBody) wait(ready <-chan piece) bool {
	select {
	case b.cur = <-ready:
		return true
	case <-b.done:
	case <-b.lost:
	case <-b.ctx.Done():
	}
	return false
}

// start runs the pump on the first read.
func (b *sendBody) start() error {
	if b.gate != nil && !b.gate.continued.Load() && b.gate.final.Load() {
		b.wait(nil) // the answer is here already; the client keeps its body
		return errSendEnded
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errSendEnded
	}
	if !b.started {
		b.started = true
		b.ready, b.free = make(chan piece), make(chan struct{}, 1)
		b.buf = buffers.Get().(*[]byte)
		b.pumped = make(chan struct{})
		go b.pump(b.src, *b.buf)
	}
	return nil
}

func (b *sendBody) pump(src io.Reader, buf []byte) {
	defer close(b.pumped)
	for {
		n, err := guarded(src, buf)
		b.taken.Add(int64(n))
		select {
		case b.ready <- piece{buf[:n], err}:
		case <-b.done:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-b.free:
		case <-b.done:
			return
		}
	}
}

// guarded reads what may be a filter's body, on nobody else's stack.
func guarded(src io.Reader, buf []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "panic",
				Title: "Internal error", Close: true, Err: fmt.Errorf("nethttp: panic in a request body: %v\n%s", v, debug.Stack())}
		}
	}()
	return src.Read(buf)
}

// finish is called with what src ended with: at EOF the trailer is complete.
func (b *sendBody) finish(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return errSendEnded
	}
	if err != io.EOF {
		b.cause = err
		return err
	}
	for name, value := range b.x.Request.Trailer.All() {
		if !isToken(name) || !exchange.MayTrail(name) { // a filter may have set any
			continue
		}
		b.trailer.Add(b.x.Lasting(name), b.x.Lasting(value))
	}
	return io.EOF
}

// Close is net/http's: it wants no more. The exchange's own body stays open,
// for it may be sent again.
func (b *sendBody) Close() error {
	b.end()
	return nil
}

// end cuts the tie to the exchange. It never waits for the client.
func (b *sendBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		b.x = nil
		close(b.done)
	}
}

// state reports what src failed with, and whether the request can still be
// sent as if nothing had been read.
func (b *sendBody) state() (cause error, untouched bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause, b.memory || !b.started
}
