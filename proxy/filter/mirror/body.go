package mirror

import (
	"errors"
	"io"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

var (
	errLarge = errors.New("mirror: the body is larger than max_body")
	errCut   = errors.New("mirror: the body did not pass whole")
)

// copied is a body being copied while it passes. Until it is there whole, the
// copy waits.
type copied struct {
	most, length int64 // length as declared; -1 unknown
	over         chan struct{}

	mu    sync.Mutex
	bytes []byte
	ended bool
	err   error // why it is not whole; to be read once over is closed
}

func (c *copied) add(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
	case int64(len(c.bytes)+len(p)) > c.most:
		c.end(errLarge)
	default:
		c.bytes = append(c.bytes, p...)
		if int64(len(c.bytes)) == c.length { // who knows the length need not ask for the end
			c.end(nil)
		}
	}
}

// finish ends it, unless it has ended.
func (c *copied) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	if err == nil && c.length >= 0 && int64(len(c.bytes)) != c.length {
		err = errCut // it ended before its length
	}
	c.end(err)
}

func (c *copied) end(err error) {
	if c.ended, c.err = true, err; err != nil {
		c.bytes = nil
	}
	close(c.over)
}

// Read implements io.Reader: nobody reads it before Hold has replaced it.
func (c *copied) Read([]byte) (int, error) { return 0, errCut }

// Close implements io.Closer.
func (c *copied) Close() error { return nil }

// tee is the request's body on its way to the service.
type tee struct {
	io.ReadCloser
	copy *copied
}

// Read implements io.Reader.
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if n > 0 {
		t.copy.add(p[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		t.copy.finish(nil)
	case err != nil:
		t.copy.finish(errCut)
	}
	return n, err
}

// Ready implements what exchange.Ready asks.
func (t *tee) Ready() bool { return exchange.Ready(t.ReadCloser) }

// Whole implements what exchange.Whole asks.
func (t *tee) Whole() bool { return exchange.Whole(t.ReadCloser) }

// Within implements what exchange.Within asks.
func (t *tee) Within(d time.Duration) { exchange.Within(t.ReadCloser, d) }
