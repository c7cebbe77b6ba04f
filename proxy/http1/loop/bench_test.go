//go:build linux

package loop

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is what the process has used.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchConns = 64

// benchmarkProxy runs n exchanges of 128 bytes there and 254 back over 64
// connections through front; the clients and the backend are on loops of their
// own. What differs between the benchmarks is the proxy in the middle.
func benchmarkProxy(b *testing.B, proxy func(backend string) (front string)) {
	g := newGroup(b, 1)
	answer := make([]byte, 254)
	backend := serve(b, g, always(&funcs{ready: func(c *Conn) bool {
		var buf [512]byte
		if _, err := c.Read(buf[:]); err != nil {
			_ = c.Close()
			return false
		}
		_, _ = c.Write(answer)
		return true
	}}))
	front := proxy(backend)
	l := g.Loops()[0]
	done := make(chan struct{}, benchConns)
	left := b.N
	start := make(chan *Conn, benchConns)
	for range benchConns {
		do(b, l, func() {
			c, err := l.Dial(context.Background(), "tcp", front)
			if err != nil {
				b.Error(err)
			}
			start <- c
		})
	}
	close(start)
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	for c := range start {
		l.Post(func() {
			l.Go(func() {
				defer func() { done <- struct{}{} }()
				defer c.Close()
				request := make([]byte, 128)
				buf := make([]byte, 512)
				for left > 0 {
					left--
					if _, err := c.Write(request); err != nil {
						b.Error(err)
						return
					}
					if _, err := io.ReadFull(c, buf[:len(answer)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	for range benchConns {
		<-done
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1e3, "cpu-µs/op")
}

// BenchmarkDirect is the clients and the backend alone.
func BenchmarkDirect(b *testing.B) {
	benchmarkProxy(b, func(backend string) string { return backend })
}

// BenchmarkProxyLoop is a bare proxy on a loop: each request borrows a dialled
// connection that idles between.
func BenchmarkProxyLoop(b *testing.B) {
	benchmarkProxy(b, func(backend string) string {
		g := newGroup(b, 1)
		var pool []*Conn
		dialled := &funcs{}
		return serve(b, g, always(&funcs{ready: func(c *Conn) bool {
			var buf [512]byte
			n, err := c.Read(buf[:])
			if err != nil {
				_ = c.Close()
				return false
			}
			var up *Conn
			for up == nil && len(pool) > 0 {
				if p := pool[len(pool)-1]; p.Busy() {
					up = p
				}
				pool = pool[:len(pool)-1]
			}
			now := c.Loop().Now()
			if up == nil {
				if up, err = c.Loop().Dial(context.Background(), "tcp", backend); err != nil {
					b.Error(err)
					_ = c.Close()
					return false
				}
				up.SetHandler(dialled)
			}
			_ = up.SetDeadline(now.Add(30 * time.Second))
			_, _ = up.Write(buf[:n])
			if n, err = up.Read(buf[:]); err != nil {
				b.Error(err)
			}
			up.Idle(now.Add(time.Minute))
			pool = append(pool, up)
			_, _ = c.Write(buf[:n])
			c.IdleUntil(now.Add(time.Minute))
			return true
		}}))
	})
}

// BenchmarkProxyGoroutines is the same with a goroutine per connection.
func BenchmarkProxyGoroutines(b *testing.B) {
	benchmarkProxy(b, func(backend string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ln.Close() })
		pool := make(chan net.Conn, benchConns)
		b.Cleanup(func() {
			for len(pool) > 0 {
				_ = (<-pool).Close()
			}
		})
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 512)
					for {
						n, err := c.Read(buf)
						if err != nil {
							return
						}
						var up net.Conn
						select {
						case up = <-pool:
						default:
							if up, err = net.Dial("tcp", backend); err != nil {
								b.Error(err)
								return
							}
						}
						_, _ = up.Write(buf[:n])
						if n, err = up.Read(buf); err != nil {
							b.Error(err)
						}
						pool <- up
						_, _ = c.Write(buf[:n])
					}
				}()
			}
		}()
		return ln.Addr().String()
	})
}
