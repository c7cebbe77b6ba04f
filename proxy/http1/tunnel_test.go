package http1

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

const anUpgrade = "GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"

// switching is a service that switches to protocol and then echoes.
func switching(protocol string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\nhello")
		_, _ = io.Copy(c, br)
	}
}

// opened is a tunnel that has said hello.
func opened(t *testing.T, addr string) *peer {
	t.Helper()
	p := dial(t, addr)
	p.send(anUpgrade)
	res, err := http.ReadResponse(p.br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %+v", err, res)
	}
	p.hears("hello")
	return p
}

func (p *peer) hears(want string) {
	p.t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(p.br, b); err != nil || string(b) != want {
		p.t.Fatalf("%q and %v where %q was to come", b, err, want)
	}
}

// Both ways at once, more than any buffer holds, with bytes read ahead in front.
func TestATunnelPassesEverything(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		address := scripted(t, switching("raw"))
		_, addr := running(t, opt, exchange.ServerConfig{}, forwarding(newTransport(t, exchange.TransportConfig{}), address, nil))
		p := opened(t, addr)
		want := make([]byte, 8<<20)
		rnd := rand.New(rand.NewPCG(3, 4))
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		go func() {
			_, _ = p.Write(want)
			_ = p.Conn.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(p.br)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
			t.Errorf("%d bytes came back, %v; want the %d that were sent", len(got), err, len(want))
		}
	})
}

// A quiet tunnel between two sockets of an event loop has no memory to copy through.
func TestAQuietTunnelHoldsNoBuffer(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there are no event loops
	}
	var taken atomic.Int64
	plain := streams.New
	t.Cleanup(func() { streams.New = plain })
	runtime.GC()
	runtime.GC() // nothing is left in the pool
	streams.New = func() any { taken.Add(1); return plain() }
	address := scripted(t, switching("raw"))
	_, addr := running(t, Options{}, exchange.ServerConfig{}, forwarding(newTransport(t, exchange.TransportConfig{}), address, nil))
	for range 20 {
		p := opened(t, addr) // what is read ahead is copied, through a buffer that goes back
		p.send("ping")
		p.hears("ping")
	}
	if n := taken.Load(); n > 10 {
		t.Errorf("20 tunnels hold %d buffers", n)
	}
	p := opened(t, addr)
	p.send(string(bytes.Repeat([]byte("x"), 1<<20)))
	p.hears(string(bytes.Repeat([]byte("x"), 1<<20)))
}
