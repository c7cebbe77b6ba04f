package tcp

import (
	"io"
	"testing"
)

// BenchmarkSplice moves megabytes from a TLS client to a plain service; the same by
// io.Copy is what the TLS alone costs.
func BenchmarkSplice(b *testing.B) {
	piece := make([]byte, 1<<20)
	for _, copying := range []bool{false, true} {
		name := "splice"
		if copying {
			name = "io.Copy"
		}
		b.Run(name, func(b *testing.B) {
			c, client := pair(b, true)
			s, service := pair(b, false)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if copying {
					_, _ = io.Copy(s.raw.Conn, c.Conn)
					_ = s.CloseWrite()
					return
				}
				_ = Splice(c, s, 0, Counted{})
			}()
			go func() {
				for range b.N {
					_, _ = client.Write(piece)
				}
				_ = client.CloseWrite()
			}()
			b.SetBytes(1 << 20)
			if n, err := io.Copy(io.Discard, service); err != nil || n != int64(b.N)<<20 {
				b.Errorf("%d %v", n, err)
			}
			_ = service.CloseWrite()
			<-done
		})
	}
}
