package http1

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
)

// What does not fit a read is had by the next one at once, also when it was asked
// in between whether there is more, for which a byte is read ahead.
func TestReadGoesOnWhereItHasFitted(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close() })
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<10) // a record
	go func() {
		defer b.Close()
		c := tls.Client(b, func() *tls.Config {
			clientTLS.DynamicRecordSizingDisabled = true
			return clientTLS
		}())
		_, _ = c.Write(body)
		_, _ = c.Read(make([]byte, 1))
	}()
	s, err := newSecure(serverTLS, false, false)
	if err != nil {
		t.Fatal(err)
	}
	c := s.server(a, threads{})
	if err := c.handshake(); err != nil {
		t.Fatal(err)
	}
	p, got := make([]byte, 6000), []byte(nil)
	for _, want := range []int{6000, 6000, len(body) - 12000} {
		if n, err := c.Read(p); n != want || err != nil {
			t.Fatalf("%d bytes behind the first %d, %v", n, len(got), err)
		}
		got = append(got, p[:want]...)
		if more := len(got) < len(body); c.buffered() != more {
			t.Errorf("after %d bytes it is said that there is more: %v", len(got), !more)
		}
	}
	if !bytes.Equal(got, body) {
		t.Error("what came is not what was sent")
	}
}
