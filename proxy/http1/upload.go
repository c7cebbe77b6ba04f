package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

var errUnwanted = errors.New("http1: the request body is not wanted any more")

// upload sends a request body beside the task that waits for the answer.
type upload struct {
	l       *link
	body    io.Reader
	trailer *exchange.Fields
	chunked bool
	left    int64
	expects bool

	join func()
	done atomic.Bool // it was sent to its end
	stop atomic.Bool // it must not go on

	mu    sync.Mutex
	gate  chan struct{} // closed when the client may be asked for the body; nil: it may
	open  bool
	cause error // what the body itself failed with
}

// start begins to send. A body whose client waits for 100 is held back until
// the service says so, or nothing for a while.
func (u *upload) start(h host) {
	if !u.expects {
		u.join = h.spawn(u.run)
		return
	}
	u.gate = make(chan struct{})
	u.join = h.spawn(func() {
		_ = h.await(func() error {
			t := time.NewTimer(expectContinue)
			defer t.Stop()
			select {
			case <-u.gate:
			case <-t.C:
				u.mu.Lock()
				u.open = true
				u.mu.Unlock()
			}
			return nil
		})
		u.run()
	})
}

// permit is told of a 1xx answer.
func (u *upload) permit(go100 bool) {
	if !go100 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opens()
}

// opens lets the sender go on. Called with mu held.
func (u *upload) opens() {
	if u.gate != nil && !u.open {
		u.open = true
		close(u.gate)
	}
}

// held reports whether the client has not been asked for its body.
func (u *upload) held() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.gate != nil && !u.open
}

// refuse has the sender end without asking for the body.
func (u *upload) refuse() {
	u.stop.Store(true)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gate != nil && !u.open {
		u.open = true
		close(u.gate)
	}
}

func (u *upload) complete() bool { return u.done.Load() }

// over waits until the sender has left the body. The engine that owns the body
// has ended all reads by now.
func (u *upload) over() {
	u.refuse()
	u.join()
}

func (u *upload) run() {
	if u.stop.Load() {
		return
	}
	p := streams.Get().(*[]byte)
	defer streams.Put(p)
	defer func() {
		if v := recover(); v != nil { // a filter's body, on nobody else's stack
			u.fail(&exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "panic",
				Title: "Internal error", Close: true, Err: fmt.Errorf("http1: panic in a request body: %v\n%s", v, debug.Stack())})
		}
	}()
	if err := u.copy(*p); err != nil {
		var b *bodyError
		if errors.As(err, &b) {
			u.fail(b.err)
		}
		return
	}
	u.done.Store(true)
}

// fail says that the body cannot be had. The service will wait for the rest;
// nobody has it.
func (u *upload) fail(cause error) {
	u.mu.Lock()
	u.cause = cause
	u.mu.Unlock()
	u.l.interrupt()
}

// bodyError is what reading the request body failed with.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func (u *upload) copy(p []byte) error {
	way := passage{own: p}
	defer way.free()
	for {
		piece, last, err := u.next(p)
		if err != nil {
			return err
		}
		began := u.l.host.now()
		if len(piece) > 0 {
			if _, err := u.l.nc.Write(piece); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		if !u.chunked {
			p = way.next(len(piece), u.l.host.now().Sub(began))
		}
	}
}

// next reads a piece of the body into p and frames it there.
func (u *upload) next(p []byte) (piece []byte, last bool, err error) {
	at, end := 0, len(p)
	if u.chunked {
		at, end = chunkGap, min(end-2, chunkGap+0xffff)
	} else {
		end = int(min(int64(end), u.left))
	}
	n, err := u.body.Read(p[at:end])
	switch last = err == io.EOF; {
	case u.stop.Load():
		return nil, false, errUnwanted
	case err != nil && !last:
		return nil, false, &bodyError{err}
	case !u.chunked:
		u.left -= int64(n)
		if last && u.left > 0 {
			return nil, false, &bodyError{io.ErrUnexpectedEOF}
		}
		return p[:n], u.left == 0, nil
	}
	piece = p[:0]
	if n > 0 {
		size := len(appendChunkHeader(p[:0], n))
		copy(p[size:], p[chunkGap:chunkGap+n])
		piece = append(p[:size+n], '\r', '\n')
	}
	if last {
		piece = appendLastChunk(piece, u.trailer)
	}
	return piece, last, nil
}

// failure is what the body failed with, if that is why there is no answer.
func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cause
}
