package tcp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// pair is a TCP connection's two ends, under TLS when asked for.
func pair(t testing.TB, secure bool) (ours *wire, theirs *wire) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	if !secure {
		return plain(b), plain(a)
	}
	sb, sa := &socket{b, true}, &socket{a, true}
	server, client := tls.Server(sb, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}), tls.Client(sa, &tls.Config{InsecureSkipVerify: true})
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.HandshakeContext(context.Background()) })
	if err := client.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return secured(sb, server), secured(sa, client)
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// between splices two pairs and returns the outer ends.
func between(t testing.TB, clientTLS, serviceTLS bool, idle time.Duration) (client, service *wire, result chan error) {
	c, client := pair(t, clientTLS)
	s, service := pair(t, serviceTLS)
	result = make(chan error, 1)
	go func() { result <- Splice(c, s, idle, Counted{}) }()
	return client, service, result
}

func matrix(t *testing.T, run func(t *testing.T, clientTLS, serviceTLS bool)) {
	for _, c := range []struct {
		name            string
		client, service bool
	}{{"plain to plain", false, false}, {"plain to TLS", false, true}, {"TLS to plain", true, false}, {"TLS to TLS", true, true}} {
		t.Run(c.name, func(t *testing.T) { run(t, c.client, c.service) })
	}
}

// Either side ends its half first; the other's megabytes still arrive whole.
func TestHalfClose(t *testing.T) {
	matrix(t, func(t *testing.T, clientTLS, serviceTLS bool) {
		for _, clientFirst := range []bool{true, false} {
			client, service, result := between(t, clientTLS, serviceTLS, 0)
			first, second := client, service
			if !clientFirst {
				first, second = service, client
			}
			_, _ = first.Write([]byte("question"))
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(second); err != nil || string(got) != "question" {
				t.Fatalf("client first %t: %q %v", clientFirst, got, err)
			}
			answer := bytes.Repeat([]byte("answer"), 1<<18)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = second.Write(answer); _ = second.CloseWrite() })
			if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, answer) {
				t.Errorf("client first %t: %d bytes of %d, %v", clientFirst, len(got), len(answer), err)
			}
			wg.Wait()
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestResetsAndTruncationAreNoEnd(t *testing.T) {
	matrix(t, func(t *testing.T, clientTLS, serviceTLS bool) {
		client, service, result := between(t, clientTLS, serviceTLS, 0)
		service.Reset()
		if _, err := client.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the client saw %v for a reset", err)
		}
		var b *Broken
		if err := <-result; !errors.As(err, &b) || b.Client {
			t.Errorf("%v", err)
		}
		if !serviceTLS {
			return
		}
		client, service, result = between(t, clientTLS, serviceTLS, 0)
		_ = service.raw.Close() // FIN without close_notify: anybody on the way can do that
		if _, err := client.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the client saw %v for a cut stream", err)
		}
		if err := <-result; !errors.Is(err, errTruncated) {
			t.Errorf("%v", err)
		}
	})
}

func TestIdleStreamsEnd(t *testing.T) {
	client, _, result := between(t, false, true, 50*time.Millisecond)
	if _, err := client.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("%v", err)
	}
	if err := <-result; !errors.Is(err, errIdle) {
		t.Error(err)
	}
}

// A reader that does not read stops the writer.
func TestSlowReader(t *testing.T) {
	matrix(t, func(t *testing.T, clientTLS, serviceTLS bool) {
		client, service, result := between(t, clientTLS, serviceTLS, 0)
		_ = service.raw.Conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		piece := make([]byte, 64<<10)
		total := 0
		for total < 1<<30 {
			n, err := service.Write(piece)
			total += n
			if err != nil {
				break
			}
		}
		if total >= 1<<28 {
			t.Errorf("%d bytes were taken for a reader that does not read", total)
		}
		service.Reset()
		client.Reset()
		<-result
	})
}

type fixed struct{ w exchange.Wire }

func (f fixed) connect(context.Context, *exchange.Stream) (exchange.Wire, func(), *exchange.Fault) {
	return f.w, func() {}, nil
}

// The server speaks first, the drain cuts and counts what is left, and a stream
// whose recheck fails is cut.
func TestServerFirstDrainAndRecheck(t *testing.T) {
	for _, lose := range []bool{false, true} {
		ours, theirs := pair(t, false)
		ended := make(chan *exchange.Fault, 1)
		cfg := Config{Name: "l", Service: "s", Connect: fixed{ours}.connect, Interval: 5 * time.Millisecond,
			Ended: func(s *exchange.Stream) { ended <- s.Fault }}
		allowed := make(chan struct{})
		cfg.Recheck = func() func(*exchange.Stream) *exchange.Fault {
			select {
			case <-allowed:
				return func(*exchange.Stream) *exchange.Fault { return &exchange.Fault{Code: "peer-denied"} }
			default:
				return nil
			}
		}
		s := NewServer(cfg)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = s.Serve(l) })
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = theirs.Write([]byte("220 hello"))
		b := make([]byte, 9)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "220 hello" {
			t.Fatalf("%q %v", b, err)
		}
		want := "drain-cut"
		if lose {
			want = "peer-denied"
			close(allowed)
			if f := <-ended; f == nil || f.Code != want {
				t.Errorf("ended with %v, want %s", f, want)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		cut, _ := s.Shutdown(ctx)
		cancel()
		if !lose {
			if f := <-ended; cut != 1 || f == nil || f.Code != want {
				t.Errorf("cut %d, ended with %v, want %s", cut, f, want)
			}
		}
		serving.Wait()
		_ = c.Close()
	}
}
