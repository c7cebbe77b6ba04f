package mtls

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lintel.dev/lintel/proxy/exchange"
)

// Leaves of 4 s, renewed at half of their life, while clients make requests on
// kept-alive and on new connections, and a root rotation in the middle: no
// request fails, and an open connection is never cut. So short a life leaves
// no room for a test machine that stands still for a while: such a run proves
// nothing either way and is made again.
func TestRotationUnderLoadDropsNothing(t *testing.T) {
	const runs, tooLong = 4, 250 * time.Millisecond
	for run := 1; ; run++ {
		longest := watchForStalls()
		err := rotateUnderLoad(t)
		stall := longest()
		if err == nil {
			return
		}
		if stall < tooLong || run == runs {
			t.Fatalf("run %d, longest stall of the machine %s: %v", run, stall, err)
		}
		t.Logf("run %d: the machine stood still for %s, trying again: %v", run, stall, err)
	}
}

// watchForStalls measures how late a ticking goroutine ever was.
func watchForStalls() (longest func() time.Duration) {
	stop, result := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for last := time.Now(); ; {
			select {
			case <-stop:
				result <- worst
				return
			case <-time.After(10 * time.Millisecond):
			}
			now := time.Now()
			worst, last = max(worst, now.Sub(last)), now
		}
	}()
	return func() time.Duration { close(stop); return <-result }
}

func rotateUnderLoad(t *testing.T) error {
	ca := openCA(t, CAConfig{TTL: 4 * time.Second, poll: 500 * time.Millisecond})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	address := listen(t, &http.Server{
		TLSConfig: ServerConfig(orders, nil, Options{}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, err := PeerOf(r.TLS)
			if err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			fmt.Fprint(w, peer.ID)
		}),
	})
	config := func() *tls.Config { return ClientConfig(web, expecting(t, ordersID), Options{}) }
	opened := holdOpen(t, ServerConfig(orders, nil, Options{}), config())

	end := time.Now().Add(12 * time.Second)
	var serials sync.Map
	var requests, connections atomic.Int64
	var clients errgroup.Group
	for i := range 6 {
		keepAlive := i%2 == 0
		clients.Go(func() error {
			for time.Now().Before(end) {
				n, err := useOneConnection(web, config(), address, keepAlive, end, &serials)
				requests.Add(n)
				connections.Add(1)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	clients.Go(func() error {
		time.Sleep(4 * time.Second) // the middle of the load
		return ca.RotateRoot(5 * time.Second)
	})
	if err := clients.Wait(); err != nil {
		return err
	}
	seen := 0
	serials.Range(func(any, any) bool { seen++; return true })
	t.Logf("%d requests on %d connections, %d server certificates", requests.Load(), connections.Load(), seen)
	if seen < 4 || requests.Load() < 50 {
		return fmt.Errorf("%d server certificates and %d requests: that proves nothing", seen, requests.Load())
	}
	if err := opened.echo(); err != nil {
		return fmt.Errorf("a connection that stayed open was dropped: %w", err)
	}
	cs := opened.client.ConnectionState()
	_, err := PeerOf(&cs)
	wantError(t, err, "expired at", ordersID)
	return nil
}

// useOneConnection makes requests on one connection until it retires, as a
// pool does; without keepAlive it makes one.
func useOneConnection(src Source, config *tls.Config, address string, keepAlive bool, end time.Time, serials *sync.Map) (n int64, err error) {
	transport := &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 1, DisableKeepAlives: !keepAlive}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	retire := Retire(src)()
	for {
		res, err := client.Get("https://" + address)
		if err != nil {
			return n, err
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || string(body) != webID {
			return n, fmt.Errorf("status %d, %q, %v", res.StatusCode, body, err)
		}
		n++
		peer, err := PeerOf(res.TLS)
		if err != nil {
			return n, err
		}
		serials.Store(peer.Cert.SerialNumber.String(), true)
		if at := RetirePeer(peer); at.Before(retire) {
			retire = at
		}
		// A second more than the tenth of so short a life, for a test machine
		// that stalls.
		if now := time.Now(); !keepAlive || now.After(retire.Add(-time.Second)) || now.After(end) {
			return n, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type openConn struct {
	client *tls.Conn
	r      *bufio.Reader
}

func (o *openConn) echo() error {
	if _, err := io.WriteString(o.client, "still there?\n"); err != nil {
		return err
	}
	got, err := o.r.ReadString('\n')
	if err == nil && got != "still there?\n" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// holdOpen opens one connection to an echo server and leaves it open.
func holdOpen(t *testing.T, server, client *tls.Config) *openConn {
	t.Helper()
	l := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", server))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c := must[*tls.Conn](t)(tls.Dial("tcp", l.Addr().String(), client))
	t.Cleanup(func() {
		_ = c.Close()
		_ = l.Close()
		<-done
	})
	o := &openConn{c, bufio.NewReader(c)}
	if err := o.echo(); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRootRotationOverlaps(t *testing.T) {
	// Slow enough for a machine that stalls: leaves have two seconds to be
	// renewed in, and roots one and a half to become known.
	ca := openCA(t, CAConfig{TTL: 4 * time.Second, poll: 500 * time.Millisecond})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	oldRoot := ca.view.Load().signer.cert

	wantError(t, ca.RotateRoot(time.Millisecond), "shorter than the leaf TTL")
	if err := ca.RotateRoot(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	wantError(t, ca.RotateRoot(5*time.Second), "a rotation is under way")
	if v := ca.view.Load(); !v.signer.cert.Equal(oldRoot) || len(v.bundle) != 2 {
		t.Errorf("right after the rotation: %d roots trusted, old root signs: %v; expected 2 and true", len(v.bundle), v.signer.cert.Equal(oldRoot))
	}
	talk := func() error {
		sErr, cErr, _ := handshake(t, ServerConfig(orders, nil, Options{}), ClientConfig(web, expecting(t, ordersID), Options{}))
		return errors.Join(sErr, cErr)
	}
	signedByOld := func(s Source) bool {
		svid, err := s.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		return svid.Certificates[0].CheckSignatureFrom(oldRoot) == nil
	}
	eventually(t, "both clients hold a leaf of the new root", func() bool {
		if err := talk(); err != nil {
			t.Fatalf("during the overlap: %v", err)
		}
		return !signedByOld(web) && !signedByOld(orders)
	})
	eventually(t, "the old root is no longer trusted", func() bool {
		if err := talk(); err != nil {
			t.Fatalf("at the end of the overlap: %v", err)
		}
		return web.Status().Roots == 1 && orders.Status().Roots == 1
	})
	if err := ca.RotateRoot(5 * time.Second); err != nil {
		t.Errorf("a second rotation: %v", err)
	}
}

// When the Workload API goes away, the identity is used to its end, and no
// longer.
func TestAnIdentityThatIsNotRenewedFailsClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca, longer := openCA(t, CAConfig{Dir: dir, TTL: 3 * time.Second}), openCA(t, CAConfig{Dir: dir})
	socket := socketPath(t)
	agent := must[*Server](t)(ca.Serve(context.Background(), socket, webID))
	web := must[Source](t)(Workload(context.Background(), WorkloadConfig{Address: socket, Wait: 30 * time.Second}))
	defer web.Close()
	orders := sourceOf(t, longer, ordersID)
	client := ClientConfig(web, expecting(t, ordersID), Options{})
	if _, err, _ := handshake(t, ServerConfig(orders, nil, Options{}), client); err != nil {
		t.Fatal(err)
	}
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the identity expires", func() bool { return time.Now().After(NotAfter(web)) })
	_, err, _ := handshake(t, ServerConfig(orders, nil, Options{}), client)
	wantError(t, err, "the own identity "+webID+" expired at", "the identity source's last failure")
	if f := (*exchange.Fault)(nil); !errors.As(err, &f) || f.Source != exchange.FromSelf {
		t.Errorf("found %v; want a fault of our own, not one held against the service", err)
	}
	sErr, _, _ := handshake(t, ServerConfig(web, nil, Options{}), ClientConfig(orders, expecting(t, webID), Options{}))
	wantError(t, sErr, "the own identity "+webID+" expired at")
	if web.Status().Err == "" {
		t.Error("the status says nothing of the failure")
	}

	// It recovers by itself.
	back := must[*Server](t)(ca.Serve(context.Background(), socket, webID))
	defer back.Close()
	eventually(t, "the client connects again", func() bool {
		_, err, _ := handshake(t, ServerConfig(orders, nil, Options{}), client)
		return err == nil
	})
}

func TestPeerIsCheckedPerExchange(t *testing.T) {
	ca := openCA(t, CAConfig{})
	_, _, cs := handshake(t, ServerConfig(sourceOf(t, ca, ordersID), nil, Options{}),
		ClientConfig(sourceOf(t, ca, webID), expecting(t, ordersID), Options{}))
	leaf := cs.PeerCertificates[0]
	if _, err := peerAt(&cs, leaf.NotAfter); err != nil {
		t.Errorf("in its last moment: %v", err)
	}
	_, err := peerAt(&cs, leaf.NotAfter.Add(time.Second))
	wantError(t, err, "the certificate of peer "+ordersID+" expired at", "open a new connection")
	_, err = peerAt(&cs, leaf.NotBefore.Add(-time.Second))
	wantError(t, err, "is not valid before", "compare both clocks")
	wantError(t, StillValid(exchange.Peer{}, time.Now()), "no peer certificate")

	half := cs
	half.HandshakeComplete = false
	_, err = PeerOf(&half)
	wantError(t, err, "handshake is not complete")
	_, err = PeerOf(&tls.ConnectionState{HandshakeComplete: true})
	wantError(t, err, "sent no certificate")
}
