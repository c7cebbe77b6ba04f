package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
)

// TestSoak lets many clients do all that clients do, well and badly, in front
// of a service that does the same, and asserts that nobody ever sees a byte of
// another's exchange and that nothing is left when they have gone.
//
// LINTEL_SOAK is how long (a duration, shared by its parts; 4s), LINTEL_SEED
// repeats a run's choices, though not their timing. Run it with -race, and with
// -tags poison, which overwrites buffers that are given back.
func TestSoak(t *testing.T) {
	seed, long := soakFor(t)
	parts := time.Duration(2 * len(drivers()))
	for name, opt := range drivers() {
		t.Run(name, func(t *testing.T) { soak(t, opt, false, nil, seed, long/parts) })
		t.Run(name+" over TLS", func(t *testing.T) { soak(t, opt, true, nil, seed, long/parts) })
	}
}

func soakFor(t *testing.T) (seed uint64, long time.Duration) {
	long = 4 * time.Second
	if s := os.Getenv("LINTEL_SOAK"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatalf("LINTEL_SOAK: %v", err)
		}
	}
	seed = rand.Uint64()
	if s := os.Getenv("LINTEL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 16, 64); err != nil {
			t.Fatalf("LINTEL_SEED: %v", err)
		}
	}
	t.Logf("LINTEL_SEED=%x", seed)
	return seed, long
}

// soakOver makes a server and a transport that are reached, and reach, by other
// ways than sockets of their own.
type soakOver func(exchange.ServerConfig, exchange.TransportConfig, exchange.Handler) (*server, exchange.Server, exchange.Transport)

const soakClients = 24

func soak(t *testing.T, opt Options, secure bool, over soakOver, seed uint64, long time.Duration) {
	before := goleak.IgnoreCurrent()
	descriptors := openFiles(t)
	k := &soakKit{t: t, dial: net.Dial}
	cfg := exchange.ServerConfig{Name: "soak", BodyBytes: 300 << 10, RequestTimeout: waitLimit}
	// Fewer connections than clients: they wait for one another.
	tcfg := exchange.TransportConfig{MaxConns: soakClients * 2 / 3, MaxIdle: soakClients / 3}
	listen := func(l net.Listener) net.Listener { return l }
	if secure {
		serverTLS, clientTLS := certified(t)
		cfg.TLS, tcfg.TLS = serverTLS, clientTLS
		listen = func(l net.Listener) net.Listener { return tls.NewListener(l, serverTLS) }
		k.dial = func(network, address string) (net.Conn, error) { return tls.Dial(network, address, clientTLS) }
	}
	service := newSoakService(t, listen)
	f := &soakForwarder{address: service.l.Addr().String(), fail: service.fail}
	if over == nil {
		over = func(cfg exchange.ServerConfig, tcfg exchange.TransportConfig, h exchange.Handler) (*server, exchange.Server, exchange.Transport) {
			s, err := NewServer(cfg, h, slog.New(slog.DiscardHandler), opt)
			if err != nil {
				t.Fatal(err)
			}
			return s.(*server), s, NewTransport(tcfg)
		}
	}
	engine, server, transport := over(cfg, tcfg, f)
	f.transport = transport
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	until := time.Now().Add(long)
	var clients sync.WaitGroup
	for i := range soakClients {
		clients.Go(func() {
			c := &soakClient{k: k, r: rand.New(rand.NewPCG(seed, uint64(i)))}
			for time.Now().Before(until) && !t.Failed() {
				c.something()
			}
		})
	}
	clients.Wait()

	// The service leaves last: nobody depends on it to get rid of exchanges.
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if cut, err := server.Shutdown(ctx); cut != 0 || err != nil {
		t.Errorf("Shutdown cut %d exchanges of clients that have gone, %v", cut, err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	f.transport.Close()
	eventually(t, "all connections to be closed", func() bool {
		open, _ := conns(engine)
		return f.transport.Open() == 0 && open == 0
	})
	service.stop()
	close(service.fails)
	for failure := range service.fails {
		t.Error(failure)
	}
	if n := f.began.Load() - f.finished.Load(); n != 0 {
		t.Errorf("%d exchanges were not finished", n)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	eventually(t, fmt.Sprintf("the descriptors to be %d again", descriptors), func() bool { return openFiles(t) <= descriptors })
	t.Logf("%d exchanges, %d requests at the service, %d good answers", f.finished.Load(), service.served.Load(), k.good.Load())
	if k.good.Load() == 0 {
		t.Error("nothing was ever answered")
	}
}

// openFiles counts descriptors where the system says.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	} else if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// stale is the fault of a request that met the end of its connection. What has
// no body is sent again, as none of the soak's requests does anything.
const stale = "stale-connection"

// soakForwarder forwards as the pipe and a cluster do, and looks whether what
// it is lent stays as it is for as long as it is lent.
type soakForwarder struct {
	transport       exchange.Transport
	address         string
	fail            func(string, ...any)
	began, finished atomic.Int64
}

func (f *soakForwarder) Serve(x *exchange.Exchange) {
	f.began.Add(1)
	if x.Fault == nil {
		x.ID = strings.Clone(x.Request.Header.Get("X-Id"))
		x.Request.Header.Filter(func(name, _ string) bool {
			return !exchange.EqualFold(name, "Connection") && !exchange.EqualFold(name, "Upgrade")
		})
		for range 2 * soakClients { // more than there can be connections that have ended
			x.Fault = f.attempt(x)
			if x.Fault == nil || !x.Fault.Retryable && (x.Fault.Code != stale || x.Request.Body != nil) {
				break
			}
		}
	}
	if x.Fault != nil {
		x.Answer(x.Fault.Status, "text/plain", []byte(x.Fault.Code))
		x.Response.Header.Set("X-Id", x.ID)
	}
	if got := x.Response.Header.Get("X-Id"); got != x.ID && x.ID != "" {
		f.fail("%s was answered with the head of %q", x.ID, got)
	}
}

func (f *soakForwarder) attempt(x *exchange.Exchange) *exchange.Fault {
	var fault *exchange.Fault
	up, err := f.transport.Reserve(x, f.address, exchange.HTTP1)
	if err == nil {
		err = up.RoundTrip(x)
	}
	if err != nil && !errors.As(err, &fault) {
		f.fail("not a fault: %v", err)
		fault = &exchange.Fault{Status: 500}
	}
	return fault
}

func (f *soakForwarder) Finish(x *exchange.Exchange) {
	if got := x.Request.Header.Get("X-Id"); x.ID != "" && got != x.ID {
		f.fail("the request %s reads %q at its end", x.ID, got)
	}
	if got := x.Response.Header.Get("X-Id"); x.ID != "" && got != x.ID {
		f.fail("the answer to %s reads %q at its end", x.ID, got)
	}
	x.RunDone()
	f.finished.Add(1)
}

type soakKit struct {
	t       *testing.T
	address string
	dial    func(network, address string) (net.Conn, error)
	good    atomic.Int64
}

// soakClient does one thing after another.
type soakClient struct {
	k    *soakKit
	r    *rand.Rand
	conn net.Conn
	br   *bufio.Reader
}

func (c *soakClient) something() {
	conn, err := c.k.dial("tcp", c.k.address)
	if err != nil {
		c.k.t.Errorf("dialling: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * waitLimit))
	c.conn, c.br = conn, bufio.NewReader(conn)
	switch c.r.IntN(16) {
	case 0, 1, 2, 3:
		for range 1 + c.r.IntN(10) {
			if !c.exchange(c.ask()) {
				return
			}
		}
	case 4, 5:
		c.pipelined()
	case 6:
		c.goesEarly()
	case 7:
		c.truncated()
	case 8:
		c.oversized()
	case 9:
		c.tunnel()
	case 10:
		c.halfClosed()
	case 11:
		c.malformed()
	default:
		c.badService()
	}
}

// ask is a request of some kind.
type ask struct {
	id       uint64
	query    string
	method   string
	extra    string
	body     int // bytes, -1 none
	chunked  bool
	size     int
	wantHint bool
}

func (c *soakClient) ask() ask {
	a := ask{id: c.r.Uint64(), method: "GET", body: -1, size: c.size()}
	switch c.r.IntN(5) {
	case 0:
		a.method, a.body = "POST", c.size()
	case 1:
		a.method, a.body, a.chunked = "PUT", c.size(), true
	case 2:
		a.method = "HEAD"
	}
	if a.body > 0 && c.r.IntN(6) == 0 {
		a.extra = "Expect: 100-continue\r\n"
	}
	how := []string{"length", "length", "chunked", "chunked", "close"}[c.r.IntN(5)]
	do := []string{"", "", "", "hints", "last"}[c.r.IntN(5)]
	a.wantHint = do == "hints"
	a.query = fmt.Sprintf("size=%d&how=%s&do=%s", a.size, how, do)
	return a
}

func (c *soakClient) size() int {
	switch c.r.IntN(6) {
	case 0:
		return 0
	case 1:
		return 60000 + c.r.IntN(150000)
	}
	return c.r.IntN(9000)
}

// bytes are the request as it goes over the wire.
func (a ask) bytes() []byte {
	q := fmt.Sprintf("id=%x&%s", a.id, a.query)
	if a.body >= 0 {
		q += fmt.Sprintf("&sent=%d", a.body)
	}
	var b strings.Builder
	if a.chunked {
		q += fmt.Sprintf("&sum=%x", a.id)
	}
	fmt.Fprintf(&b, "%s /x?%s HTTP/1.1\r\nHost: a.example\r\nX-Id: %x\r\n%s", a.method, q, a.id, a.extra)
	body := content{id: a.id, left: max(a.body, 0)}
	switch {
	case a.chunked:
		b.WriteString("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
		piece := make([]byte, 1+a.id%3000)
		for body.left > 0 {
			n, _ := body.Read(piece)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, piece[:n])
		}
		fmt.Fprintf(&b, "0\r\nX-Sum: %x\r\n\r\n", a.id)
	case a.body >= 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", a.body)
		_, _ = io.Copy(&b, &body)
	default:
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

// write sends p at once, in a few pieces or slowly.
func (c *soakClient) write(p []byte) error {
	for len(p) > 0 {
		n := len(p)
		if c.r.IntN(3) > 0 {
			n = 1 + c.r.IntN(n)
		}
		if _, err := c.conn.Write(p[:n]); err != nil {
			return err
		}
		if p = p[n:]; c.r.IntN(4) == 0 {
			time.Sleep(time.Duration(c.r.IntN(3000)) * time.Microsecond)
		}
	}
	return nil
}

// exchange is one request and its good answer; it reports whether the
// connection goes on.
func (c *soakClient) exchange(a ask) bool {
	// Beside reading: an answer may come before the request has gone.
	sent := make(chan error, 1)
	go func(r *rand.Rand) { sent <- (&soakClient{r: r, conn: c.conn}).write(a.bytes()) }(rand.New(rand.NewPCG(c.r.Uint64(), 0)))
	goesOn := c.answer(a)
	if err := <-sent; err != nil && goesOn {
		c.k.t.Errorf("sending %x: %v", a.id, err)
	}
	return goesOn
}

// answer reads the good answer to a.
func (c *soakClient) answer(a ask) bool {
	t := c.k.t
	for {
		res, err := http.ReadResponse(c.br, &http.Request{Method: a.method})
		if err != nil {
			t.Errorf("the answer to %x (%s): %v", a.id, a.query, err)
			return false
		}
		if res.StatusCode < 200 {
			if l := res.Header.Get("Link"); l != "" && l != fmt.Sprintf("<%x>", a.id) {
				t.Errorf("%x got the hint %q", a.id, l)
			}
			continue
		}
		want := a.size
		if a.method == "HEAD" {
			want = 0
		}
		if res.StatusCode == http.StatusBadGateway {
			b, _ := io.ReadAll(res.Body)
			if string(b) != stale || a.body < 0 {
				t.Errorf("%x (%s %s, body %d) got 502: %s", a.id, a.method, a.query, a.body, b)
			}
			return !res.Close
		}
		n, wrong, err := isContent(res.Body, a.id)
		_ = res.Body.Close()
		switch {
		case res.StatusCode != 200 || res.Header.Get("X-Id") != strconv.FormatUint(a.id, 16):
			t.Errorf("%x (%s) got %d with X-Id %s", a.id, a.query, res.StatusCode, res.Header.Get("X-Id"))
		case wrong >= 0:
			t.Errorf("the answer to %x (%s) is another's from byte %d on", a.id, a.query, wrong)
		case err != nil || n != want:
			t.Errorf("%x (%s) got %d of %d bytes, %v", a.id, a.query, n, want, err)
		case res.Trailer.Get("X-Sum") != "" && res.Trailer.Get("X-Sum") != strconv.FormatUint(a.id, 16):
			t.Errorf("%x got the trailer %v", a.id, res.Trailer)
		default:
			c.k.good.Add(1)
			return !res.Close
		}
		return false
	}
}

// pipelined sends several requests before it reads. None has a body that the
// proxy could not take: whoever pipelines must not have to read first.
func (c *soakClient) pipelined() {
	var asks []ask
	var all []byte
	for range 2 + c.r.IntN(40) {
		a := ask{id: c.r.Uint64(), method: "GET", body: -1, size: c.r.IntN(3000)}
		if c.r.IntN(3) == 0 {
			a.method, a.body, a.chunked = "POST", c.r.IntN(3000), c.r.IntN(2) == 0
		}
		a.query = fmt.Sprintf("size=%d&how=%s", a.size, []string{"length", "chunked"}[c.r.IntN(2)])
		asks, all = append(asks, a), append(all, a.bytes()...)
	}
	sent := make(chan error, 1)
	r := rand.New(rand.NewPCG(c.r.Uint64(), 0))
	go func() { sent <- (&soakClient{r: r, conn: c.conn}).write(all) }()
	for _, a := range asks {
		if !c.answer(a) {
			break // it said why; the writer notices when the connection is closed
		}
	}
	_ = c.conn.Close()
	<-sent
}

// goesEarly leaves somewhere: within the head, the body or the answer, with
// and without a reset.
func (c *soakClient) goesEarly() {
	a := c.ask()
	b := a.bytes()
	if c.r.IntN(2) == 0 {
		b = b[:c.r.IntN(len(b))]
	}
	_ = c.write(b)
	if c.r.IntN(2) == 0 {
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Duration(c.r.IntN(20)) * time.Millisecond))
		_, _ = io.CopyN(io.Discard, c.br, int64(c.r.IntN(500)))
	}
	if tcp, ok := c.conn.(*net.TCPConn); ok && c.r.IntN(2) == 0 {
		_ = tcp.SetLinger(0)
	}
}

// truncated sends less body than it says and ends its half.
func (c *soakClient) truncated() {
	a := c.ask()
	a.method, a.body, a.extra, a.chunked = "POST", 1+c.r.IntN(100000), "", c.r.IntN(2) == 0
	b := a.bytes()
	head := strings.Index(string(b), "\r\n\r\n") + 4
	if c.write(b[:head+c.r.IntN(len(b)-head)]) != nil {
		return
	}
	_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
	res, err := http.ReadResponse(c.br, nil)
	if err == nil && res.StatusCode == 200 {
		c.k.t.Errorf("half a body (%s) was answered as if it were whole", a.query)
	}
}

// oversized sends more than is taken, said beforehand or not.
func (c *soakClient) oversized() {
	a := ask{id: c.r.Uint64(), method: "POST", body: 301<<10 + c.r.IntN(100<<10), chunked: c.r.IntN(2) == 0, query: "size=0"}
	_ = c.write(a.bytes())
	res, err := http.ReadResponse(c.br, nil)
	if err == nil && res.StatusCode != 413 {
		c.k.t.Errorf("%d bytes of body are answered with %d", a.body, res.StatusCode)
	}
}

func (c *soakClient) tunnel() {
	t := c.k.t
	a := ask{id: c.r.Uint64(), method: "GET", body: -1, query: "do=switch", extra: "Connection: Upgrade\r\nUpgrade: echo\r\n"}
	n := c.size()
	said, _ := io.ReadAll(&content{id: a.id, left: n})
	early := c.r.IntN(n + 1)
	if c.write(append(a.bytes(), said[:early]...)) != nil {
		return
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("X-Id") != strconv.FormatUint(a.id, 16) {
		t.Errorf("%x is not switched: %v, %+v", a.id, err, res)
		return
	}
	sent := make(chan struct{})
	r := rand.New(rand.NewPCG(c.r.Uint64(), 0))
	go func() {
		defer close(sent)
		_ = (&soakClient{r: r, conn: c.conn}).write(said[early:])
		_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	if c.r.IntN(3) == 0 {
		_, _ = io.CopyN(io.Discard, c.br, int64(c.r.IntN(n+1)))
		_ = c.conn.Close()
	} else if got, wrong, err := isContent(c.br, a.id); got != n || wrong >= 0 || err != nil {
		t.Errorf("the tunnel of %x echoed %d of %d bytes, wrong from %d on, %v", a.id, got, n, wrong, err)
	}
	<-sent
}

// halfClosed has asked all it wants to know, and waits for the answer.
func (c *soakClient) halfClosed() {
	a := ask{id: c.r.Uint64(), method: "GET", body: -1, size: c.r.IntN(3000)}
	a.query = fmt.Sprintf("size=%d", a.size)
	if c.write(a.bytes()) != nil {
		return
	}
	_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
	// On a machine that is busy enough this client has left for good before its
	// turn comes; then it gets nothing, or is told so.
	res, err := http.ReadResponse(c.br, nil)
	if err == nil && res.StatusCode == 200 {
		if _, wrong, err := isContent(res.Body, a.id); err == nil && wrong >= 0 {
			c.k.t.Errorf("the answer to %x is another's from byte %d on", a.id, wrong)
		}
	}
}

func (c *soakClient) malformed() {
	request := []string{
		"GET /x HTTP/1.1\nHost: a\n\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	}[c.r.IntN(4)]
	if c.write([]byte(request+"GET /smuggled?id=0 HTTP/1.1\r\nHost: a\r\nX-Id: 0\r\n\r\n")) != nil {
		return
	}
	res, err := http.ReadResponse(c.br, nil)
	if err == nil && res.StatusCode != 400 {
		c.k.t.Errorf("%q is answered with %d", request, res.StatusCode)
	}
	if b, _ := io.ReadAll(c.br); strings.Contains(string(b), "HTTP/1.1") {
		c.k.t.Errorf("after %q came another answer: %q", request, b)
	}
}

// badService asks for what the service does badly.
func (c *soakClient) badService() {
	do := []string{"vanish", "early", "refuse", "stall", "silence", "cut", "garbage"}[c.r.IntN(7)]
	a := c.ask()
	a.query, a.size = "size=1000&do="+do, 1000
	sent := make(chan struct{})
	r := rand.New(rand.NewPCG(c.r.Uint64(), 0))
	go func() { defer close(sent); _ = (&soakClient{r: r, conn: c.conn}).write(a.bytes()) }()
	defer func() { <-sent }()
	defer c.conn.Close()
	if do == "stall" || do == "silence" {
		time.Sleep(time.Duration(c.r.IntN(20)) * time.Millisecond)
		return // nobody waits for that
	}
	res, err := http.ReadResponse(c.br, &http.Request{Method: a.method})
	for err == nil && res.StatusCode < 200 {
		res, err = http.ReadResponse(c.br, &http.Request{Method: a.method})
	}
	if err != nil {
		return
	}
	if id := res.Header.Get("X-Id"); id != strconv.FormatUint(a.id, 16) {
		c.k.t.Errorf("%x (%s) got %d with X-Id %s", a.id, a.query, res.StatusCode, id)
	}
	if res.StatusCode != 200 {
		return
	}
	n, wrong, err := isContent(res.Body, a.id)
	if wrong >= 0 {
		c.k.t.Errorf("the answer to %x (%s) is another's from byte %d on", a.id, a.query, wrong)
	}
	if do == "cut" && err == nil && a.method != "HEAD" {
		c.k.t.Errorf("%x took %d bytes for the whole of an answer that was cut", a.id, n)
	}
}
