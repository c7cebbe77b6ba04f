package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lintel.dev/lintel/proxy/exchange"
)

// A client that leaves as it sends the last of its upload is noticed like any
// other.
func TestAClientThatLeavesWithItsLastByte(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		reading, felt := make(chan struct{}, 1), make(chan error, 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			b := make([]byte, 4)
			_, _ = io.ReadFull(x.Request.Body, b)
			reading <- struct{}{}
			_, _ = io.ReadFull(x.Request.Body, b)
			err := x.Await(func(ctx context.Context) error {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(waitLimit / 2):
					return errors.New("nobody said so")
				}
			})
			felt <- err
			x.Answer(200, "", nil)
		}})
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1234")
		receive(t, "the upload", reading)
		time.Sleep(20 * time.Millisecond) // it waits for more by now
		// Bytes and end in one segment.
		raw := c.Conn.(*net.TCPConn)
		if err := setCork(raw); err != nil {
			t.Fatal(err)
		}
		c.send("5678")
		_ = raw.Close()
		if err := receive(t, "the exchange", felt); err != nil {
			t.Error(err)
		}
	})
}

// setCork has the kernel keep what is written until the connection is closed.
func setCork(c *net.TCPConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1) })
	if err == nil {
		err = failed
	}
	return err
}
