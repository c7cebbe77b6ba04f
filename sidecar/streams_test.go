package sidecar

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
)

// frame is one unmasked WebSocket frame with n bytes of payload.
func frame(n int) []byte {
	b := []byte{0x82}
	switch {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, bytes.Repeat([]byte{0x81}, n)...)
}

func TestFramesAreFollowedInWhateverPieces(t *testing.T) {
	var all []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000, 0, 5} {
		all = append(all, frame(n)...)
		ends[len(all)] = true
	}
	for _, piece := range []int{1, 2, 3, 7, 1000, 4096, len(all)} {
		var f frames
		for at := 0; at < len(all); at += piece {
			end := min(at+piece, len(all))
			f.see(all[at:end])
			if f.between() != ends[end] {
				t.Fatalf("pieces of %d: at %d between is %t", piece, end, f.between())
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(append(frame(3), frame(200)...), 2)
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		var whole, parts frames
		whole.see(b)
		if at < 0 || at > len(b) {
			at = len(b) / 2
		}
		parts.see(b[:at])
		parts.see(b[at:])
		if whole != parts {
			t.Errorf("%+v and %+v", whole, parts)
		}
	})
}

// tunnelled is a service's side that says what it is told to.
type tunnelled struct {
	io.Reader
	closed atomic.Bool
	gone   chan struct{}
}

func (t *tunnelled) Read(p []byte) (int, error) {
	if n, err := t.Reader.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	<-t.gone
	return 0, errors.New("closed")
}

func (t *tunnelled) Write(p []byte) (int, error) {
	if t.closed.Load() {
		return 0, errors.New("closed")
	}
	return len(p), nil
}

func (t *tunnelled) Close() error {
	if t.closed.CompareAndSwap(false, true) {
		close(t.gone)
	}
	return nil
}

func webSocket(said []byte) *exchange.Exchange {
	x := call(webID, "GET", "/ws")
	x.Request.Upgrade = "websocket"
	x.Response.Status = 101
	x.Response.Tunnel = &tunnelled{Reader: bytes.NewReader(said), gone: make(chan struct{})}
	return x
}

func TestAWebSocketEndsWithACloseFrameBetweenFrames(t *testing.T) {
	for name, c := range map[string]struct {
		said  []byte
		frame bool
	}{
		"nothing said": {nil, true}, "after a frame": {frame(300), true}, "within a frame": {frame(300)[:50], false}, "within a head": {frame(300)[:3], false},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := webSocket(c.said)
			newStreams(config.Streams{Max: time.Second}, nil).OnResponse(x)
			b, err := io.ReadAll(x.Response.Tunnel)
			if err != nil {
				t.Fatal(err)
			}
			rest := b[len(c.said):]
			if !bytes.Equal(b[:len(c.said)], c.said) || (len(rest) > 0) != c.frame {
				t.Errorf("%s: %q", name, b)
			}
			if c.frame && (rest[0] != 0x88 || int(rest[1]) != len(rest)-2 || binary.BigEndian.Uint16(rest[2:]) != 1001) {
				t.Errorf("%s: close frame %q", name, rest)
			}
			if n, err := x.Response.Tunnel.Write([]byte("late")); n != 4 || err != nil {
				t.Errorf("%s: the client's answer: %d, %v", name, n, err)
			}
			x.RunDone()
		})
	}
}

func TestWhatIsFirstEndsAStream(t *testing.T) {
	soon, late := time.Now().Add(time.Millisecond), time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		cfg         config.Streams
		token, cert time.Time
		want        *ending
	}{
		"max":            {config.Streams{Max: time.Millisecond, Until: []string{"token", "certificate"}}, late, late, tooLong},
		"token":          {config.Streams{Max: time.Hour, Until: []string{"token", "certificate"}}, soon, late, noToken},
		"certificate":    {config.Streams{Max: time.Hour, Until: []string{"token", "certificate"}}, late, soon, noCert},
		"over already":   {config.Streams{Until: []string{"token"}}, time.Now().Add(-time.Hour), late, noToken},
		"only the token": {config.Streams{Until: []string{"token"}}, soon, time.Now().Add(-time.Hour), noToken},
	} {
		x := call(webID, "GET", "/")
		x.Txn = &exchange.Txn{Token: "t", Expires: c.token}
		x.Peer.Cert = &x509.Certificate{NotAfter: c.cert}
		x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader(""))
		newStreams(c.cfg, nil).OnResponse(x)
		<-x.Context().Done()
		if got := x.Ended(); got != error(c.want) {
			t.Errorf("%s: ended by %v", name, got)
		}
		x.RunDone()
	}
}

func TestALostPermissionEndsAStream(t *testing.T) {
	var inForce atomic.Pointer[policy]
	set := func(from string) {
		p, err := newPolicy("orders", config.Policy{Allow: []config.Allow{{From: []string{from}, Paths: []string{"/ws"}}}}, consulIdentity(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		inForce.Store(p)
	}
	set("web")
	s := newStreams(config.Streams{Recheck: time.Millisecond}, &inForce)
	x := call(webID, "GET", "/ws")
	s.OnRequest(x)
	x.Request.Path = "/elsewhere" // a filter's doing: policy never saw it
	x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader(""))
	s.OnResponse(x)
	ctx := x.Context()
	select {
	case <-ctx.Done():
		t.Fatalf("ended though it is allowed: %v", x.Ended())
	case <-time.After(30 * time.Millisecond):
	}
	set("nobody")
	<-ctx.Done()
	if got := x.Ended(); got != error(noRight) {
		t.Errorf("ended by %v", got)
	}
	x.RunDone()
}

func TestALostTrustEndsAStream(t *testing.T) {
	p, err := newPolicy("orders", config.Policy{Allow: []config.Allow{{From: []string{"web"}}}}, consulIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var inForce atomic.Pointer[policy]
	inForce.Store(p)
	var gone atomic.Bool
	s := newStreams(config.Streams{Recheck: time.Millisecond}, &inForce)
	s.trusted = func(p exchange.Peer, _ time.Time) error {
		if p.ID != webID || gone.Load() {
			return errors.New("its root has left the bundle")
		}
		return nil
	}
	x := call(webID, "GET", "/ws")
	s.OnRequest(x)
	x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader(""))
	s.OnResponse(x)
	ctx := x.Context()
	select {
	case <-ctx.Done():
		t.Fatalf("ended though it is trusted: %v", x.Ended())
	case <-time.After(30 * time.Millisecond):
	}
	gone.Store(true)
	<-ctx.Done()
	if got := x.Ended(); got != error(noTrust) {
		t.Errorf("ended by %v", got)
	}
	x.RunDone()
}

func TestAGRPCStreamEndsWithAStatus(t *testing.T) {
	x := call(webID, "POST", "/s/M")
	x.Request.Proto = "HTTP/2.0"
	x.Request.Header.Add("Content-Type", "application/grpc")
	gone := &tunnelled{Reader: strings.NewReader("message"), gone: make(chan struct{})}
	x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, gone
	x.Life().Watch(wakes(func() { _ = gone.Close() })) // as a transport does
	newStreams(config.Streams{Max: time.Millisecond}, nil).OnResponse(x)
	b, err := io.ReadAll(x.Response.Body)
	if err != nil || string(b) != "message" || x.Response.Trailer.Get("grpc-status") != "14" {
		t.Errorf("%q %v %q", b, err, x.Response.Trailer.Get("grpc-status"))
	}
	x.RunDone()
}

type wakes func()

func (w wakes) Wake() { w() }

func TestShortAnswersAndRefusalsAreLeftAlone(t *testing.T) {
	if newStreams(config.Streams{}, nil) != nil {
		t.Error("there is a filter where nothing is configured")
	}
	s := newStreams(config.Streams{Max: time.Nanosecond}, nil)
	for _, change := range []func(x *exchange.Exchange){
		func(x *exchange.Exchange) { x.Response.Length = 5 }, func(x *exchange.Exchange) { x.Fault = &exchange.Fault{} },
		func(x *exchange.Exchange) { x.Shadow = true }, func(x *exchange.Exchange) { x.Response.Body = nil },
	} {
		x := call(webID, "GET", "/")
		x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader("hello"))
		change(x)
		body := x.Response.Body
		s.OnResponse(x)
		if x.Response.Body != body || x.Ended() != nil {
			t.Errorf("%+v", x.Response)
		}
		x.RunDone()
	}
}

func TestAChangedIntentionEndsAStream(t *testing.T) {
	in := given(t, discovery.Intentions{List: []discovery.Intention{{Source: "web", Perms: []discovery.Permission{
		{Allow: true, Headers: []discovery.HeaderMatch{{Name: "X-Kind", Exact: "feed"}}}}}}})
	p, err := newPolicy("orders", config.Policy{Intentions: true}, consulIdentity(t), in)
	if err != nil {
		t.Fatal(err)
	}
	var inForce atomic.Pointer[policy]
	inForce.Store(p)
	s := newStreams(config.Streams{Recheck: time.Millisecond}, &inForce)
	x := call(webID, "GET", "/ws")
	x.Request.Header.Add("X-Kind", "feed")
	s.OnRequest(x)
	x.Request.Header.Del("X-Kind") // as a filter may
	x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader(""))
	s.OnResponse(x)
	ctx := x.Context()
	select {
	case <-ctx.Done():
		t.Fatalf("ended though the intention allows it: %v", x.Ended())
	case <-time.After(30 * time.Millisecond):
	}
	in.state.Store(in.compile(discovery.Intentions{List: []discovery.Intention{{Source: "web", Allow: false}}}))
	<-ctx.Done()
	if got := x.Ended(); got != error(noRight) {
		t.Errorf("ended by %v", got)
	}
	x.RunDone()
}
