package listen

import (
	"errors"
	"net"
	"sync"
)

// Limit makes Accept wait while max connections are open, leaving further
// clients in the kernel's queue; 0 is unlimited. It is for listeners whose
// server has no limit of its own, such as spliced TCP.
func Limit(l net.Listener, max int) net.Listener {
	if max <= 0 {
		return l
	}
	return &limitListener{Listener: l, room: make(chan struct{}, max), closed: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	room   chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &limitConn{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	leave func()
}

func (c *limitConn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// CloseWrite ends our half of the stream.
func (c *limitConn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
