package ask

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func newClient(t *testing.T, c Config) *Client {
	t.Helper()
	cl, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func TestAQuestionArrivesAndItsAnswerComesBack(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %q %s %s", r.Method, r.URL, r.Header.Values("X-A"), body, r.UserAgent())
	})
	a, err := newClient(t, Config{}).Ask(t.Context(), &Question{Method: "POST", URL: at + "/q?x=1", Body: []byte("why"),
		Header: []exchange.Field{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != http.StatusTeapot || string(a.Body) != `POST /q?x=1 ["1" "2"] why lintel` || a.Get("set-cookie") != "a=1" {
		t.Errorf("%d %s %v", a.Status, a.Body, a.Header)
	}
}

func TestRedirectsAreAnswersAndNotFollowed(t *testing.T) {
	asked := 0
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/login", http.StatusFound)
	})
	a, err := newClient(t, Config{}).Ask(t.Context(), &Question{Method: "GET", URL: at})
	if err != nil || a.Status != http.StatusFound || a.Get("Location") != "/login" || asked != 1 {
		t.Error(a, err, asked)
	}
}

func TestALongAnswerIsCut(t *testing.T) {
	at := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Query().Get("n")) })
	c := newClient(t, Config{Limit: 4})
	for text, cut := range map[string]bool{"four": false, "fives": true} {
		a, err := c.Ask(t.Context(), &Question{Method: "GET", URL: at + "?n=" + text})
		if err != nil || a.Cut != cut || cut && a.Body != nil || !cut && string(a.Body) != text {
			t.Error(text, a, err)
		}
	}
}

// A bare CR in a value would end a line for many a reader further on. net/http
// refuses it; filters rely on that.
func TestHeadersThatEndLinesAreRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nRemote-User: a\rX-Admin: 1\r\nContent-Length: 0\r\n\r\n")
		_ = c.Close()
	})
	a, err := newClient(t, Config{}).Ask(t.Context(), &Question{Method: "GET", URL: "http://" + l.Addr().String()})
	if err == nil {
		t.Errorf("%+v was taken", a)
	}
	_ = l.Close()
	wg.Wait()
}

func TestAnAnswerThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	stop := make(chan struct{})
	at := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	c := newClient(t, Config{Timeout: 20 * time.Millisecond})
	for _, path := range []string{"/", "/head"} {
		if _, err := c.Ask(t.Context(), &Question{Method: "GET", URL: at + path}); !errors.Is(err, errTimeout) {
			t.Error(path, err)
		}
	}
	left := errors.New("the client has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(left)
	if _, err := c.Ask(ctx, &Question{Method: "GET", URL: at}); !errors.Is(err, left) {
		t.Error(err)
	}
}

func TestErrorsShowNothingOfWhatWasSent(t *testing.T) {
	for _, q := range []*Question{
		{Method: "GET", URL: "http://127.0.0.1:1/?key=hush"},
		{Method: "GET", URL: "http://127.0.0.1:1", Header: []exchange.Field{{Name: "A", Value: "hush\n"}}},
		{Method: "BAD METHOD", URL: "http://127.0.0.1:1/hush"},
	} {
		if _, err := newClient(t, Config{}).Ask(t.Context(), q); err == nil || strings.Contains(err.Error(), "hush") {
			t.Error(err)
		}
	}
}

func TestOnlyTheGivenAuthorityIsTrusted(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	s.Config.ErrorLog = nil
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if a, err := newClient(t, Config{CA: ca}).Ask(t.Context(), &Question{Method: "GET", URL: s.URL}); err != nil || a.Status != http.StatusNotFound {
		t.Error(a, err)
	}
	if _, err := newClient(t, Config{}).Ask(t.Context(), &Question{Method: "GET", URL: s.URL}); err == nil {
		t.Error("an unknown authority was trusted")
	}
	if _, err := New(Config{CA: []byte("no PEM")}); err == nil {
		t.Error("no certificate was taken for one")
	}
}

func TestAddresses(t *testing.T) {
	for s, want := range map[string]string{
		"http://127.0.0.1:4180/auth": "", "https://auth.example.com/api?x=1": "",
		"auth.example.com/x": "expected an address", "ftp://a/b?key=hush": "expected an address", "http://": "expected an address",
		"http://u:hush@a/": "without user name", "http://a/#f": "fragment", "http://a\x7f": "something else", "": "expected",
	} {
		_, err := Address(s)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

func TestNamesThatCannotBeHandedOn(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"Remote-User", "X-Auth-Request-*", "Authorization"}, ""},
		{nil, ""},
		{[]string{"A", "content_length"}, "list[1]: Content-Length is written by Lintel itself"},
		{[]string{"Transfer-*"}, "Transfer-Encoding"},
		{[]string{"txn-token"}, "Txn-Token"},
		{[]string{"bad name"}, "no header name"},
		{[]string{"A", "a"}, "twice"},
	} {
		_, err := Names("list", c.names)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.names, err, c.want)
		}
	}
}
