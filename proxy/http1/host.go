package http1

import (
	"context"
	"net"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// host runs the tasks of connections: a goroutine each, or the coroutines of
// one event loop.
type host interface {
	// lane numbers event loops from 1; 0 is goroutines. A connection to an
	// endpoint is only used by exchanges of its own lane.
	lane() int
	now() time.Time
	// spawn runs f beside the running task; join waits for its end.
	spawn(f func()) (join func())
	// waiter is what an exchange's Await is made of; nil: waiting in place.
	waiter() func(context.Context, func(context.Context) error) error
	// await runs f, which may block, so that other tasks go on.
	await(f func() error) error
	// dial opens a connection of this host, from a task, for x.
	dial(x *exchange.Exchange, address string, limit time.Duration) (net.Conn, error)
	// pause yields to the other tasks, from a task that never waits by itself.
	pause()
	alarm() exchange.Alarm // a new one; nil: the runtime's timers will do
	mutex() sync.Locker    // a new one that may be held while waiting for a socket
	// elsewhere runs f as a task, from any goroutine; false: the loop is gone.
	elsewhere(f func()) bool
}

// threads is a goroutine per connection.
type threads struct{}

func (threads) lane() int      { return 0 }
func (threads) now() time.Time { return time.Now() }

func (threads) spawn(f func()) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return func() { <-done }
}

func (threads) waiter() func(context.Context, func(context.Context) error) error { return nil }

func (threads) await(f func() error) error { return f() }

func (threads) dial(x *exchange.Exchange, address string, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit, KeepAlive: 15 * time.Second}
	return d.DialContext(x.Context(), "tcp", address)
}

func (threads) pause() {}

func (threads) alarm() exchange.Alarm { return nil }

func (threads) mutex() sync.Locker { return new(sync.Mutex) }

func (threads) elsewhere(f func()) bool {
	f()
	return true
}
