package loop

import (
	"errors"
	"log/slog"
)

// ErrUnsupported is New's error where there are no event loops.
var ErrUnsupported = errors.New("loop: event loops need Linux")

// Config is what a Group is made from.
type Config struct {
	Loops int          // how many; 0: GOMAXPROCS
	Log   *slog.Logger // nil: slog.Default()
}

// Handler is what a connection's owner does with it.
type Handler interface {
	// Ready runs as a task when an idle connection has something to read: bytes,
	// its end or an error. It reports whether the connection shall be idle again;
	// if not it has closed it, detached it or given it to somebody.
	Ready(c *Conn) (idle bool)
	// Hangup runs on the loop when the other side has ended its half, and again
	// when the connection is dead, while it is busy and no task is waiting in Read.
	Hangup(c *Conn)
	// Expired runs on the loop when the deadline of an idle connection has
	// passed. It closes the connection or sets another deadline.
	Expired(c *Conn)
}

// A Handler that also has Closed is told, on the loop, when its connection has
// been closed, whoever did it: for those who have others wait for the connection
// without waiting in it.
type closedHandler interface{ Closed(c *Conn) }

// Runner is what Start runs. It is closed if it panics.
type Runner interface {
	Run()
	Close() error
}
