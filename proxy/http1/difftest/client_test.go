package difftest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait: what takes longer is stuck.
const patience = 30 * time.Second

// client is a connection whose client has sent everything and then ended its
// half. It lives in memory, so that it is known when the engine has seen all of
// it: nobody has to wait for silence.
type client struct {
	// watched: the engine looks for a client that leaves by reading one byte
	// beside the request it serves, as net/http does. Such a read is told
	// nothing, or it would take the end of the input for a client that left.
	watched bool
	step    int // bytes given to one read; 0: all there are

	mu       sync.Mutex
	moved    *sync.Cond
	in       []byte
	out      bytes.Buffer
	deadline time.Time
	closed   bool
	over     chan struct{} // closed when nothing more will be written
	once     sync.Once
}

func newClient(in []byte, step int, watched bool) *client {
	c := &client{in: in, step: step, watched: watched, over: make(chan struct{})}
	c.moved = sync.NewCond(&c.mu)
	return c
}

// answer waits for the engine to be done and returns what it wrote.
func (c *client) answer(t testing.TB) []byte {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-c.over:
	case <-limit.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		t.Fatalf("after %s the engine still holds the connection; it wrote %q", patience, c.out.Bytes())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.out.Bytes())
}

func (c *client) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			if c.step > 0 {
				p = p[:min(len(p), c.step)]
			}
			n := copy(p, c.in)
			c.in = c.in[n:]
			return n, nil
		case !c.watched || len(p) != 1:
			return 0, io.EOF
		}
		c.moved.Wait()
	}
}

func (c *client) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.out.Write(p)
}

func (c *client) CloseWrite() error {
	c.once.Do(func() { close(c.over) })
	return nil
}

func (c *client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.moved.Broadcast()
	c.mu.Unlock()
	return c.CloseWrite()
}

// SetReadDeadline matters in the past only: nothing here is waited for that a
// later one would end.
func (c *client) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.moved.Broadcast()
	return nil
}

func (c *client) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *client) SetWriteDeadline(time.Time) error { return nil }

func (c *client) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (c *client) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// door is a listener for such connections.
type door struct {
	conns chan net.Conn
	shut  chan struct{}
	once  sync.Once
}

func newDoor() *door { return &door{conns: make(chan net.Conn), shut: make(chan struct{})} }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.shut) })
	return nil
}

func (d *door) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
