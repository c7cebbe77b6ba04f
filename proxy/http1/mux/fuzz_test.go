//go:build linux

package mux

import (
	"io"
	"net"
	"testing"
	"time"
)

// Whatever comes: nobody panics, nobody waits for ever, and what is held stays
// within its bounds. Streams are echoed, so that answers are made too.
func FuzzAccepting(f *testing.F) {
	address, ends := accepting(f, Config{Accept: always(ready(echo))})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		go func() {
			_, _ = c.Write(b)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Fatal("it waits for ever")
		}
		ended(t, within(t, "the session", ends))
	})
}

// The same to the side that has dialled and asked something on three streams.
func FuzzDialling(f *testing.F) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dialling(t, l.Addr().String(), Config{})
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		do(t, d.loop, func() {
			for range 3 {
				st := d.Open()
				d.loop.Go(func() {
					_, _ = st.Write(make([]byte, 100))
					_, _ = io.Copy(io.Discard, st)
					_ = st.Close()
				})
			}
		})
		_, _ = c.Write(b)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		ended(t, d)
	})
}

func ended(t *testing.T, e *end) {
	t.Helper()
	within(t, "the end", e.ended)
	eventually(t, "nothing is held", func() bool {
		return look(t, e.loop, func() bool {
			if e.out.n > 0 || e.out.put-e.out.sealed > 0 && e.err == nil {
				return false
			}
			for _, st := range e.streams {
				if st.in.n > 0 || st.state != gone {
					return false
				}
			}
			return e.live == 0
		})
	})
}
