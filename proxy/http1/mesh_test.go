//go:build linux

package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
	"lintel.dev/lintel/proxy/http1/mux"
)

// mesh is two servers, as two sidecars are: a client speaks to outer, outer to
// inner over mTLS.
type mesh struct {
	t     *testing.T
	inner exchange.Server
	outer exchange.Server
	addr  string // outer's
	at    string // inner's
	tr    exchange.Transport
	to    atomic.Pointer[target] // where outer sends what it is asked, and how
	shook atomic.Int64           // handshakes of inner
	proto atomic.Pointer[string]
	infos chan exchange.ConnInfo
}

type target struct {
	tr exchange.Transport
	at []string // the next one if nothing was sent
}

// sends says where outer sends to from now on.
func (m *mesh) sends(tr exchange.Transport, at ...string) {
	m.tr, m.at = tr, at[0]
	m.to.Store(&target{tr, at})
}

type meshOptions struct {
	inner, outer Options
	server       exchange.ServerConfig
	transport    exchange.TransportConfig
	serve        func(*exchange.Exchange) // of inner
}

func newMesh(t *testing.T, o meshOptions) *mesh {
	t.Helper()
	m := &mesh{t: t, infos: make(chan exchange.ConnInfo, 1<<14)}
	serverTLS, clientTLS := certified(t)
	serverTLS.VerifyConnection = func(cs tls.ConnectionState) error {
		m.shook.Add(1)
		m.proto.Store(&cs.NegotiatedProtocol)
		return nil
	}
	o.server.TLS, o.server.PeerID = serverTLS, anyPeer
	o.transport.TLS, o.transport.PeerID = clientTLS, anyPeer
	if o.serve == nil {
		o.serve = func(x *exchange.Exchange) { x.Answer(200, "text/plain", []byte("ok")) }
	}
	m.inner, m.at = running(t, o.inner, o.server, handler{serve: func(x *exchange.Exchange) {
		if x.Fault != nil {
			x.Answer(x.Fault.Status, "text/plain", []byte(x.Fault.Code))
			return
		}
		o.serve(x)
	}})
	m.sends(newTransport(t, o.transport), m.at)
	m.outer, m.addr = running(t, o.outer, exchange.ServerConfig{}, handler{serve: m.forward})
	return m
}

func (m *mesh) forward(x *exchange.Exchange) {
	var f *exchange.Fault
	to := m.to.Load()
	for _, address := range to.at {
		up, err := to.tr.Reserve(x, address, exchange.HTTP1)
		if err == nil {
			select {
			case m.infos <- *up.Info():
			default:
			}
			err = up.RoundTrip(x)
		}
		if err == nil {
			return
		}
		if f = err.(*exchange.Fault); !f.Retryable {
			break
		}
	}
	x.Fault = f
	x.Answer(f.Status, "text/plain", []byte(f.Code))
}

// ask sends a request on a connection of its own.
func (m *mesh) ask(path string) (status int, body string) {
	m.t.Helper()
	p := dial(m.t, m.addr)
	p.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
	res, body := p.answer("GET")
	return res.StatusCode, body
}

// together asks n times at once and wants every answer to be ok.
func (m *mesh) together(n int) {
	m.t.Helper()
	var all sync.WaitGroup
	for range n {
		p := dial(m.t, m.addr)
		all.Go(func() {
			_, _ = io.WriteString(p.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil || res.StatusCode != 200 {
				m.t.Errorf("%+v, %v", res, err)
			}
		})
	}
	all.Wait()
}

func lanes() int64 { return int64(runtime.GOMAXPROCS(0)) }

// However many exchanges there are, each loop has one connection, one handshake,
// and one TLS state.
func TestExchangesShareConnections(t *testing.T) {
	const many = 60
	inside, all := make(chan struct{}, many), make(chan struct{})
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) {
		inside <- struct{}{}
		_ = x.Await(func(context.Context) error { <-all; return nil })
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	go func() {
		for range many {
			<-inside
		}
		close(all) // all at once
	}()
	m.together(many)
	if n := m.shook.Load(); n < 1 || n > lanes() || *m.proto.Load() != mux.Protocol {
		t.Errorf("%d handshakes for %d loops, to speak %q", n, lanes(), *m.proto.Load())
	}
	if open, _ := conns(m.inner); open != m.shook.Load() {
		t.Errorf("%d connections are said to be open", open)
	}
	if n := m.tr.Open(); n != many {
		t.Errorf("%d streams are said to be open, of %d", n, many)
	}
	states := map[*tls.ConnectionState]bool{}
	for range many {
		info := <-m.infos
		if states[info.TLS] = true; info.PeerID != "spiffe://test/peer" || info.Protocol != "http/1.1" || !info.Remote.IsValid() {
			t.Errorf("%+v", info)
		}
	}
	if int64(len(states)) != m.shook.Load() {
		t.Errorf("%d TLS states for %d connections: keys are found by them", len(states), m.shook.Load())
	}
}

// More exchanges than one connection carries have further ones.
func TestFullConnectionsHaveFellows(t *testing.T) {
	many := 2*mux.MaxStreams*int(lanes()) + 10
	var inside atomic.Int64
	all := make(chan struct{})
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{ConnectTimeout: waitLimit}, serve: func(x *exchange.Exchange) {
		if inside.Add(1) == int64(many) {
			close(all)
		}
		_ = x.Await(func(context.Context) error { <-all; return nil })
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	m.together(many)
	if n, least := m.shook.Load(), (int64(many)+mux.MaxStreams-1)/mux.MaxStreams; n < least || n > least+lanes() {
		t.Errorf("%d connections for %d exchanges at once", n, many)
	}
}

// Whoever does not know lintel/1, or runs on goroutines, is spoken to as before,
// and others are not held up for it a second time.
func TestFallsBackToHTTP1(t *testing.T) {
	for name, o := range map[string]meshOptions{
		"inner on goroutines": {inner: Options{Threads: true}},
		"outer on goroutines": {outer: Options{Threads: true}},
		"outer told not to":   {transport: exchange.TransportConfig{Unshared: true}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, o)
			m.together(10)
			if status, body := m.ask("/"); status != 200 || body != "ok" || *m.proto.Load() != "http/1.1" {
				t.Errorf("%d %q by %q", status, body, *m.proto.Load())
			}
		})
	}
	t.Run("service that is no Lintel", func(t *testing.T) {
		m := newMesh(t, meshOptions{})
		serverTLS, _ := certified(t)
		l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS) // without ALPN at all
		if err != nil {
			t.Fatal(err)
		}
		scriptedOn(t, l, answerOK)
		tr := NewTransport(exchange.TransportConfig{TLS: &tls.Config{InsecureSkipVerify: true}, PeerID: anyPeer}).(*transport)
		t.Cleanup(tr.Close)
		m.sends(tr, l.Addr().String())
		m.together(10)
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if p := tr.places[m.at]; !p.sharing.alone {
			t.Error("it is not remembered")
		}
	})
	t.Run("listener outside the mesh", func(t *testing.T) {
		serverTLS, clientTLS := certified(t)
		_, addr := running(t, Options{}, exchange.ServerConfig{TLS: serverTLS}, handler{serve: func(x *exchange.Exchange) { x.Answer(200, "", nil) }})
		clientTLS.NextProtos = []string{mux.Protocol, "http/1.1"}
		c, err := tls.Dial("tcp", addr, clientTLS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
			t.Errorf("it chose %q", got)
		}
	})
}

// Exchanges wait for a connection that is being made, together, and fail with it.
func TestDialIsSharedAndFailsForAll(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // who says nothing in the handshake
	if err != nil {
		t.Fatal(err)
	}
	var dialled atomic.Int64
	var held []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			held = append(held, c)
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{ConnectTimeout: 500 * time.Millisecond}})
	m.sends(m.tr, l.Addr().String())
	var all sync.WaitGroup
	began := time.Now()
	for range 20 {
		p := dial(t, m.addr)
		all.Go(func() {
			_, _ = io.WriteString(p.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil || res.StatusCode != http.StatusGatewayTimeout {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
	all.Wait()
	if n := dialled.Load(); n > lanes() {
		t.Errorf("%d connections were tried at once", n)
	}
	if took := time.Since(began); took > 8*time.Second { // one after another is 10 s
		t.Errorf("it took %s: they have waited one after another", took)
	}
	if n := m.tr.Open(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// If whoever dials gives up, another does.
func TestDialIsTakenOver(t *testing.T) {
	release := make(chan struct{})
	serverTLS, clientTLS := certified(t)
	var hellos atomic.Int64
	serverTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		hellos.Add(1)
		<-release
		return nil, nil
	}
	_, at := running(t, Options{Threads: true}, exchange.ServerConfig{TLS: serverTLS, PeerID: anyPeer}, handler{serve: func(x *exchange.Exchange) { x.Answer(200, "", nil) }})
	tr := newTransport(t, exchange.TransportConfig{TLS: clientTLS, PeerID: anyPeer, ConnectTimeout: waitLimit})
	quit := make(chan *exchange.Exchange, 1)
	var first atomic.Bool
	_, addr := running(t, Options{}, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
		if !first.Swap(true) {
			quit <- x
		}
		forwarding(tr, at, nil).serve(x)
	}})
	var all sync.WaitGroup
	ask := func(want int) {
		p := dial(t, addr)
		all.Go(func() {
			_, _ = io.WriteString(p.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil || res.StatusCode != want {
				t.Errorf("%+v, %v instead of %d", res, err, want)
			}
		})
	}
	ask(499)
	x := receive(t, "the first exchange", quit)
	eventually(t, "it dials", func() bool { return hellos.Load() == 1 })
	for range 10 {
		ask(200)
	}
	life := x.Life()
	life.Cancel(errLeft)
	eventually(t, "another dials", func() bool { return hellos.Load() >= 2 })
	close(release)
	all.Wait()
}

// Who waits for somebody else's dial and is cancelled leaves at once, gives its
// place back, and disturbs neither who dials nor who waits besides.
func TestWaitingForADialIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	serverTLS, clientTLS := certified(t)
	var hellos atomic.Int64
	serverTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		hellos.Add(1)
		<-release
		return nil, nil
	}
	_, at := running(t, Options{Threads: true}, exchange.ServerConfig{TLS: serverTLS, PeerID: anyPeer}, handler{serve: func(x *exchange.Exchange) { x.Answer(200, "", nil) }})
	tr := newTransport(t, exchange.TransportConfig{TLS: clientTLS, PeerID: anyPeer, ConnectTimeout: waitLimit})
	begun := make(chan *exchange.Exchange, 64)
	_, addr := running(t, Options{}, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
		begun <- x
		forwarding(tr, at, nil).serve(x)
	}})
	var all sync.WaitGroup
	ask := func() (*exchange.Exchange, <-chan int) {
		p, status := dial(t, addr), make(chan int, 1)
		all.Go(func() {
			_, _ = io.WriteString(p.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil {
				t.Error(err)
				close(status)
				return
			}
			status <- res.StatusCode
		})
		return receive(t, "an exchange", begun), status
	}
	first, status := ask()
	lane := hostOf(first).lane()
	eventually(t, "it dials", func() bool { return hellos.Load() >= 1 })
	waits := []<-chan int{status}
	var quits []*exchange.Life
	var quit []<-chan int
	for len(quits) < 3 || len(waits) < 6 {
		x, status := ask()
		if hostOf(x).lane() == lane && len(quits) < 3 {
			quits, quit = append(quits, x.Life()), append(quit, status)
		} else {
			waits = append(waits, status)
		}
	}
	count := func() int {
		one := tr.(*transport)
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.places[at].count
	}
	eventually(t, "all are counted", func() bool { return count() == len(waits)+len(quits) })
	for _, life := range quits {
		life.Cancel(errLeft)
	}
	for _, status := range quit {
		if got := receive(t, "who gave up", status); got != 499 {
			t.Errorf("it is told %d", got)
		}
	}
	if n := count(); n != len(waits) {
		t.Errorf("%d are counted where %d wait or dial", n, len(waits))
	}
	close(release)
	for _, status := range waits {
		if got := receive(t, "who has waited", status); got != 200 {
			t.Errorf("it is told %d", got)
		}
	}
	all.Wait()
	if n := hellos.Load(); n > int64(len(waits)) || n < 1 {
		t.Errorf("%d connections", n)
	}
}

// A megabyte both ways at once, answered while it is still being sent.
func TestLargeBodiesOverSharedConnections(t *testing.T) {
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) {
		x.Response.Status, x.Response.Length, x.Response.Body = 200, x.Request.Length, x.Request.Body
		if x.Request.Length < 0 {
			x.Response.Length = -1
		}
	}})
	body := make([]byte, 1<<20+77)
	_, _ = rand.Read(body)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var src io.Reader = bytes.NewReader(body)
			if i%2 == 0 {
				src = struct{ io.Reader }{src} // chunked
			}
			res, err := http.Post("http://"+m.addr+"/", "", src)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
	http.DefaultClient.CloseIdleConnections()
}

// A connection that breaks in the middle of answers breaks those, and the next
// exchange has another.
func TestSharedConnectionBreaks(t *testing.T) {
	begun, arrived := make(chan struct{}, 10), make(chan struct{}, 10)
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) {
		if x.Request.Path == "/fine" {
			x.Answer(200, "text/plain", []byte("fine"))
			return
		}
		x.Response.Status, x.Response.Length = 200, 100
		x.Response.Body = &stuckBody{x: x, begun: begun}
	}})
	var all sync.WaitGroup
	for range 10 {
		p := dial(t, m.addr)
		all.Go(func() {
			_, _ = io.WriteString(p.Conn, "GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil {
				t.Error(err)
				return
			}
			b := make([]byte, len("beginning"))
			_, err = io.ReadFull(res.Body, b)
			arrived <- struct{}{}
			if err != nil || string(b) != "beginning" {
				t.Errorf("%q, %v", b, err)
			}
			if b, err := io.ReadAll(res.Body); len(b) > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	for range 10 {
		receive(t, "an answer to begin", begun)
		receive(t, "its beginning to arrive", arrived)
	}
	for _, c := range m.inner.(*server).snapshot() {
		if s := c.session.Load(); s != nil {
			s.Cut()
		}
	}
	all.Wait()
	if status, body := m.ask("/fine"); status != 200 || body != "fine" {
		t.Errorf("afterwards: %d %q", status, body)
	}
}

// A shared connection whose path swallows everything costs each event loop the
// exchanges that find out, and no others.
func TestPathThatSwallowsEverythingIsLeft(t *testing.T) {
	m := newMesh(t, meshOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner := m.at
	var mu sync.Mutex
	var through []*net.TCPConn
	scriptedOn(t, l, func(c net.Conn, _ *bufio.Reader) {
		to, err := net.Dial("tcp", inner)
		if err != nil {
			return
		}
		mu.Lock()
		through = append(through, c.(*net.TCPConn))
		mu.Unlock()
		go func() { _, _ = io.Copy(c, to); _ = c.Close() }()
		_, _ = io.Copy(to, c)
		_ = to.Close()
	})
	m.sends(m.tr, l.Addr().String())
	_, m.addr = running(t, Options{}, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
		x.Expire(time.Second, errors.New("too late"))
		m.forward(x)
		x.Unexpire()
	}})
	m.together(20)
	mu.Lock()
	for _, c := range through {
		swallow(t, c)
	}
	mu.Unlock()
	failed := int64(0)
	for range 4 * lanes() {
		if status, _ := m.ask("/"); status != 200 {
			failed++
		}
	}
	if failed == 0 || failed > lanes() {
		t.Errorf("%d exchanges failed, with %d event loops", failed, lanes())
	}
	mu.Lock()
	for _, c := range through {
		_ = c.Close()
	}
	mu.Unlock()
}

// swallow has the kernel drop all that arrives for c, acknowledging nothing.
func swallow(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// stuckBody gives its beginning and then waits for the exchange's end.
type stuckBody struct {
	x     *exchange.Exchange
	begun chan struct{}
	said  bool
}

func (b *stuckBody) Read(p []byte) (int, error) {
	if !b.said {
		b.said = true
		return copy(p, "beginning"), nil
	}
	b.begun <- struct{}{}
	return 0, b.x.Await(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
}

func (b *stuckBody) Close() error { return nil }

// A server that is shut down under load costs no request that has somewhere else
// to go: what it does not answer it has not looked at, and says so.
func TestShutdownUnderLoadFailsNobody(t *testing.T) {
	for round := range 5 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			other := newMesh(t, meshOptions{})
			m := newMesh(t, meshOptions{})
			at := m.at
			m.sends(newTransport(t, exchange.TransportConfig{TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, PeerID: anyPeer}),
				at, at, at, other.at)
			var stop atomic.Bool
			var asked atomic.Int64
			var all sync.WaitGroup
			for range 20 {
				p := dial(t, m.addr)
				all.Go(func() {
					for !stop.Load() {
						// A request that may not be sent twice by guessing.
						_, _ = io.WriteString(p.Conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
						res, err := http.ReadResponse(p.br, nil)
						if err != nil {
							t.Error(err)
							return
						}
						if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
							t.Errorf("%d %s", res.StatusCode, b)
							return
						}
						asked.Add(1)
					}
				})
			}
			eventually(t, "load", func() bool { return asked.Load() > 500 })
			ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
			defer cancel()
			if cut, err := m.inner.Shutdown(ctx); cut > 0 || err != nil {
				t.Errorf("%d were cut, %v", cut, err)
			}
			n := asked.Load()
			eventually(t, "load on the other", func() bool { return asked.Load() > n+500 })
			stop.Store(true)
			all.Wait()
			if open, _ := conns(m.inner); open != 0 {
				t.Errorf("%d connections are still open", open)
			}
		})
	}
}

// A request that is arriving on a shared connection when nothing is in hand at
// shutdown is answered: closing its stream would cost it, since that does not say
// that it was not looked at.
func TestShutdownAnswersWhatIsArriving(t *testing.T) {
	m := newMesh(t, meshOptions{})
	g, err := loop.New(loop.Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	l := g.Loops()[0]
	half, rest := make(chan struct{}), make(chan string, 1)
	var task *loop.Task
	var begun atomic.Bool
	l.Post(func() {
		task = l.Go(func() {
			s := packed(l, m.at, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
			if s == nil {
				rest <- "no session"
				return
			}
			st := s.Open()
			defer st.Close()
			_, _ = io.WriteString(st, "GET / HTTP/1.1\r\nHo")
			close(half)
			for !begun.Load() {
				task.Park()
			}
			_, _ = io.WriteString(st, "st: a\r\n\r\n")
			b, err := io.ReadAll(st)
			line, _, _ := strings.Cut(string(b), "\r\n")
			rest <- fmt.Sprint(line, " ", err)
		})
	})
	receive(t, "half a head", half)
	s := m.inner.(*server)
	eventually(t, "it is being read", func() bool {
		return slices.ContainsFunc(s.snapshot(), func(c *conn) bool { return c.state.Load() == serving && c.stream != nil })
	})
	over := make(chan error, 1)
	go func() { _, err := s.Shutdown(t.Context()); over <- err }()
	eventually(t, "the shutdown begins", s.draining.Load)
	time.Sleep(50 * time.Millisecond)
	begun.Store(true)
	task.Unpark()
	if got := receive(t, "the answer", rest); got != "HTTP/1.1 200 OK <nil>" {
		t.Errorf("the answer is %s", got)
	}
	receive(t, "the shutdown", over)
}

// A peer that takes nothing keeps neither Shutdown nor its connection.
func TestShutdownCutsSharedConnections(t *testing.T) {
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) { x.Answer(200, "", make([]byte, 1<<20)) }})
	c, err := tls.Dial("tcp", m.at, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{mux.Protocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	var frames []byte
	for i := range byte(mux.MaxStreams) { // more than all memory between us
		frames = append(frames, 1, 0, 0, byte(len(request)), 0, 0, 0, 2*i+1)
		frames = append(frames, request...)
	}
	if _, err := c.Write(frames); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are asked", func() bool { return m.inner.(*server).open.Load() == mux.MaxStreams })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if cut, err := m.inner.Shutdown(ctx); cut != mux.MaxStreams || err != nil {
		t.Errorf("%d were cut, %v", cut, err)
	}
	down := time.Now()
	eventually(t, "the connection ends", func() bool { open, _ := conns(m.inner); return open == 0 })
	if took := time.Since(down); took > waitLimit/3 {
		t.Errorf("its connection was left open for %s", took)
	}
}

// A connection whose time has come takes no further exchanges, and ends when it
// has none.
func TestSharedConnectionRetires(t *testing.T) {
	var until atomic.Pointer[time.Time]
	far := time.Now().Add(time.Hour)
	until.Store(&far)
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{Retire: func() time.Time { return *until.Load() }}})
	soon := time.Now().Add(2 * time.Second) // enough for the two that are asked before, on a slow machine
	until.Store(&soon)
	p := dial(t, m.addr)
	ask := func() {
		t.Helper()
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := p.answer("GET"); res.StatusCode != 200 {
			t.Error(res.Status)
		}
	}
	ask()
	ask()
	if n := m.shook.Load(); n != 1 {
		t.Errorf("%d connections before its time", n)
	}
	until.Store(&far)
	time.Sleep(time.Until(soon) + 10*time.Millisecond)
	ask()
	if n := m.shook.Load(); n != 2 {
		t.Errorf("%d connections after its time", n)
	}
	eventually(t, "the old one ends", func() bool { open, _ := conns(m.inner); return open == 1 })
	m.tr.Retire(m.at)
	eventually(t, "the other ends when its endpoint is gone", func() bool { open, _ := conns(m.inner); return open == 0 })
	if n := m.tr.Open(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// Nor does one whose other side is trusted no more.
func TestADistrustedSharedConnectionTakesNoMore(t *testing.T) {
	var lost atomic.Bool
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{Distrusted: func(*tls.ConnectionState, time.Time) bool { return lost.Load() }}})
	p := dial(t, m.addr)
	for n, want := range []int32{1, 1, 2} {
		lost.Store(n == 2)
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := p.answer("GET"); res.StatusCode != 200 {
			t.Error(res.Status)
		}
		if got := m.shook.Load(); int32(got) != want {
			t.Errorf("exchange %d: %d connections, want %d", n, got, want)
		}
	}
	eventually(t, "the old one ends", func() bool { open, _ := conns(m.inner); return open <= 1 })
}

// Streams are what MaxConns means towards an endpoint.
func TestMaxConnsCountsStreams(t *testing.T) {
	var now, most atomic.Int64
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{MaxConns: 3}, serve: func(x *exchange.Exchange) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		_ = x.Sleep(5 * time.Millisecond)
		now.Add(-1)
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	m.together(30)
	if n := most.Load(); n > 3 || n == 0 {
		t.Errorf("%d exchanges at once", n)
	}
}

// A client that goes away ends its exchange on the far side, and nothing else.
func TestLeavingIsTold(t *testing.T) {
	ended := make(chan error, 1)
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) {
		if x.Request.Path == "/wait" {
			ended <- x.Await(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		}
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	p := dial(t, m.addr)
	p.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "it is on its way", func() bool { return m.shook.Load() > 0 })
	_ = p.Close()
	if err := receive(t, "the far exchange to end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended by %v", err)
	}
	m.together(5)
}

// A stream that was reset is not waited for as a half that has ended is: nobody
// reads the answer any more.
func TestResetEndsTheExchangeAtOnce(t *testing.T) {
	ended := make(chan error, 1)
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) {
		ended <- x.Await(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	begun := make(chan *exchange.Exchange, 1)
	_, m.addr = running(t, Options{}, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
		begun <- x
		m.forward(x)
	}})
	p := dial(t, m.addr)
	p.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	life := receive(t, "the exchange", begun).Life()
	eventually(t, "it is on its way", func() bool { return m.inner.(*server).open.Load() > 0 })
	at := time.Now()
	life.Cancel(errLeft)
	if err := receive(t, "the far exchange to end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended by %v", err)
	}
	if took := time.Since(at); took > patience*3/4 {
		t.Errorf("after %s", took)
	}
}

// What lingers of idle connections is neither goroutines nor buffers.
func TestIdleSharedConnectionsHoldNothing(t *testing.T) {
	const many = 250
	var inside atomic.Int64
	all := make(chan struct{})
	m := newMesh(t, meshOptions{transport: exchange.TransportConfig{MaxIdle: many, ConnectTimeout: waitLimit}, serve: func(x *exchange.Exchange) {
		if inside.Add(1) == many {
			close(all)
		}
		_ = x.Await(func(context.Context) error { <-all; return nil })
		x.Answer(200, "text/plain", []byte("ok"))
	}})
	before := runtime.NumGoroutine()
	m.together(many)
	if n := m.tr.Open(); n != many {
		t.Errorf("%d streams are kept", n)
	}
	kept := 64 * int(lanes()) // coroutines, for whoever comes next
	eventually(t, "no goroutines for idle streams, of which there are twice as many ends", func() bool {
		return runtime.NumGoroutine() <= before+kept+20
	})
	for _, c := range m.inner.(*server).snapshot() {
		fine := make(chan bool, 1)
		c.host.(*looping).l.Post(func() {
			fine <- c.buf == nil && (c.state.Load() == idling || c.session.Load() != nil) &&
				(c.tls == nil || c.tls.wire.memory == nil && c.tls.wire.out == nil)
		})
		if !receive(t, "its loop", fine) {
			t.Error("a connection or a stream holds a buffer, or is not idle")
		}
	}
}

// An endpoint that answers by lintel/1 but speaks nonsense is found out at once,
// and its exchanges fail like any broken connection's.
func TestNonsenseFromAnEndpoint(t *testing.T) {
	m := newMesh(t, meshOptions{})
	serverTLS, _ := certified(t)
	serverTLS.NextProtos = []string{mux.Protocol}
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	scriptedOn(t, l, func(c net.Conn, br *bufio.Reader) {
		_, _ = br.ReadByte()
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, br)
	})
	m.sends(newTransport(t, exchange.TransportConfig{TLS: &tls.Config{InsecureSkipVerify: true}, PeerID: anyPeer}), l.Addr().String())
	if status, body := m.ask("/"); status != 502 || !slices.Contains([]string{"reset", "stale-connection"}, body) {
		t.Errorf("%d %q", status, body)
	}
}

// Tunnels go over streams like everything else.
func TestTunnelOverSharedConnection(t *testing.T) {
	service := scripted(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_ = r.Body.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, br)
		_ = c.(*net.TCPConn).CloseWrite()
	})
	app := newTransport(t, exchange.TransportConfig{})
	m := newMesh(t, meshOptions{serve: func(x *exchange.Exchange) { forwarding(app, service, nil).serve(x) }})
	p := dial(t, m.addr)
	p.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	res, err := http.ReadResponse(p.br, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%+v, %v", res, err)
	}
	large := strings.Repeat("0123456789abcdef", 1<<16)
	go func() {
		_, _ = io.WriteString(p.Conn, large)
		_ = p.Conn.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(p.br); string(got) != large || err != nil {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(large), err)
	}
}
