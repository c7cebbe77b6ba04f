package tcp

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Errors of a splice that neither side has made.
var errIdle = errors.New("tcp: nothing passed for too long")

// Broken is an error of one side of a splice.
type Broken struct {
	Client bool // the client's side; else the service's
	Err    error
}

func (b *Broken) Error() string { return b.Err.Error() }

// Unwrap returns the cause.
func (b *Broken) Unwrap() error { return b.Err }

// chunk is how much is moved at a time: two full TLS records.
const chunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// Counted is told what has passed.
type Counted struct{ In, Out []*atomic.Int64 } // bytes from the client, and to it

// Splice moves bytes both ways until both halves have ended or either side
// breaks; then it resets both. The end of one half is passed on and the other
// half goes on. A side that does not take what it is sent is not read for: what
// waits is one chunk and what the kernel keeps. idle is the longest time
// without any byte, 0 is unlimited. Both sides are closed when it returns.
func Splice(client, service exchange.Wire, idle time.Duration, count Counted) error {
	s := &splice{client: client, service: service}
	s.idle = exchange.NewIdle(idle, func() { s.fail(errIdle) })
	var up sync.WaitGroup
	up.Go(func() { s.pass(service, client, true, count.In) })
	s.pass(client, service, false, count.Out)
	up.Wait()
	s.idle.Stop()
	_ = client.Close()
	_ = service.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type splice struct {
	client, service exchange.Wire
	idle            *exchange.Idle
	mu              sync.Mutex
	err             error // the first
}

// fail cuts both sides; only the first reason counts.
func (s *splice) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.client.Reset()
	s.service.Reset()
}

// pass moves one direction until its end.
func (s *splice) pass(to, from exchange.Wire, upwards bool, counts []*atomic.Int64) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		n, err := from.Read(buf[:])
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				s.fail(&Broken{Client: !upwards, Err: werr})
				return
			}
			for _, c := range counts {
				c.Add(int64(n))
			}
			s.idle.Touch()
		}
		switch {
		case err == nil:
		case err == io.EOF:
			if err := to.CloseWrite(); err != nil && !hungUp(err) {
				s.fail(&Broken{Client: !upwards, Err: err})
			}
			return
		default:
			s.fail(&Broken{Client: upwards, Err: err})
			return
		}
	}
}

// hungUp says that there is nobody left to tell of an end.
func hungUp(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ENOTCONN)
}
