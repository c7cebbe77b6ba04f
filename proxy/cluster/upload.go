package cluster

import (
	"errors"
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
	state   atomic.Int32 // fresh, begun or sealed
}

// The states of an upload.
const (
	fresh  = iota
	begun  // its attempt has read from it
	sealed // its attempt is over before it did, and another has the body
)

var errSealed = errors.New("cluster: the request body went to another attempt")

func (u *upload) Read(p []byte) (int, error) {
	if !u.state.CompareAndSwap(fresh, begun) && u.state.Load() == sealed {
		return 0, errSealed
	}
	u.waiting.Store(true)
	n, err := u.ReadCloser.Read(p)
	if err == nil || err == io.EOF {
		u.waiting.Store(false)
	} // else the wait was given up, and the client is still what was waited for
	return n, err
}

// anew is the same body for another attempt; nil if this one has begun to read it. An
// attempt that was answered at once may be late to begin: it gets nothing any more.
func (u *upload) anew() *upload {
	if !u.state.CompareAndSwap(fresh, sealed) {
		return nil
	}
	return &upload{ReadCloser: u.ReadCloser}
}

// stalled reports whether the client is being waited for, or was to the end.
func (u *upload) stalled() bool { return u != nil && u.waiting.Load() }

// Ready and Whole pass on what exchange.Ready and exchange.Whole ask.
func (u *upload) Ready() bool { return exchange.Ready(u.ReadCloser) }

// Whole is Ready's twin.
func (u *upload) Whole() bool { return exchange.Whole(u.ReadCloser) }
