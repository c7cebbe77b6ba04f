package cluster

import (
	"io"
	"sync/atomic"
)

// upload is a request body that streams. It knows whether the client is being
// waited for, so that a client that stalls is not taken for a service that
// does.
type upload struct {
	io.ReadCloser
	waiting atomic.Bool
}

func (u *upload) Read(p []byte) (int, error) {
	u.waiting.Store(true)
	n, err := u.ReadCloser.Read(p)
	u.waiting.Store(false)
	return n, err
}

// stalled reports whether the client is being waited for right now.
func (u *upload) stalled() bool { return u != nil && u.waiting.Load() }
