package cluster

import (
	"io"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

// upload is a request body that streams. It knows whether the client is being
// waited for, so that a client that stalls is not taken for a service that
// does.
type upload struct {
	io.ReadCloser
	waiting atomic.Bool
	begun   atomic.Bool // an attempt has read from it
}

func (u *upload) Read(p []byte) (int, error) {
	u.begun.Store(true)
	u.waiting.Store(true)
	n, err := u.ReadCloser.Read(p)
	if err == nil || err == io.EOF {
		u.waiting.Store(false)
	} // else the wait was given up, and the client is still what was waited for
	return n, err
}

// stalled reports whether the client is being waited for, or was to the end.
func (u *upload) stalled() bool { return u != nil && u.waiting.Load() }

// Ready and Whole pass on what exchange.Ready and exchange.Whole ask.
func (u *upload) Ready() bool { return exchange.Ready(u.ReadCloser) }

// Whole is Ready's twin.
func (u *upload) Whole() bool { return exchange.Whole(u.ReadCloser) }
