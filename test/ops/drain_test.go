package ops_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func TestDrainKeepsStreams(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	kit.Replace(t, c.File, strings.Replace(c.Config, "drain: 10s", "drain: 90s", 1)) // its bound is not what is tested
	c.Ingress = kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	token := c.Token(nil)
	sse := openEvents(t, c, "/orders/ticks?n=30&every=100", token)
	ws := openSocket(t, c, "/open/ws")
	if err := say(ws, "before"); err != nil {
		t.Fatal(err)
	}
	slow := make(chan string, 1)
	asked := c.Orders.App.Requests.Load()
	go func() {
		status, body := c.Get("/orders/slow?ms=2500", token)
		slow <- fmt.Sprint(status, " ", body)
	}()
	kit.Eventually(t, 30*time.Second, "the slow request is with the app", func() error {
		if c.Orders.App.Requests.Load() == asked {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	c.Ingress.Signal(syscall.SIGTERM)
	kit.Eventually(t, 30*time.Second, "not ready", func() error {
		r, err := readyz(c.Admin)
		if err == nil && (r.Code != http.StatusServiceUnavailable || r.Status != "draining") {
			err = fmt.Errorf("%d %s", r.Code, r.Status)
		}
		return err
	})
	awaitRefused(t, c.Edge)
	if err := say(ws, "while draining"); err != nil {
		t.Errorf("WebSocket while draining: %v", err)
	}
	if err := sse.all(30); err != nil {
		t.Errorf("server-sent events while draining: %v", err)
	}
	if got := <-slow; got != "200 slow\n" {
		t.Errorf("the slow request got %q", got)
	}
	if !c.Ingress.Running() {
		t.Fatal("it ended with a WebSocket still open")
	}
	if err := say(ws, "last"); err != nil {
		t.Errorf("WebSocket: %v", err)
	}
	_ = ws.CloseNow()
	if code := c.Ingress.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func awaitRefused(t testing.TB, addr string) {
	t.Helper()
	kit.Eventually(t, 30*time.Second, "new connections are refused", func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return nil
		}
		_ = conn.Close()
		return fmt.Errorf("%s accepts", addr)
	})
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	kit.Replace(t, c.File, strings.Replace(c.Config, "drain: 10s", "drain: 1s", 1))
	c.Ingress = kit.Start(t, nil, "ingress", "-c", c.File).Ready(c.Admin)
	sse := openEvents(t, c, "/orders/ticks?n=2000&every=50", c.Token(nil))
	ws := openSocket(t, c, "/open/ws")
	began := time.Now()
	c.Ingress.Signal(syscall.SIGTERM)
	code := c.Ingress.Wait(45 * time.Second) // the streams alone would last longer
	if took := time.Since(began); took < time.Second {
		t.Errorf("ended after %s, want a little over 1s", took)
	}
	if code != 1 {
		t.Errorf("exit code %d, want 1: exchanges were cut", code)
	}
	if says := c.Ingress.Stderr.String(); !strings.Contains(says, "2 exchanges were cut") {
		t.Errorf("stderr does not say what was cut:\n%s", says)
	}
	if err := sse.all(2000); err == nil {
		t.Error("the stream was not cut")
	}
	if err := say(ws, "gone?"); err == nil {
		t.Error("the WebSocket was not cut")
	}
}

// consulSees is how Consul has an instance: passing for callers, draining on its
// own word, failing by a check, or gone.
func consulSees(c *kit.Consul, service string) (string, error) {
	var mesh []struct {
		Checks []struct{ CheckID, Status string }
	}
	if err := c.Get("/v1/health/connect/"+service, &mesh); err != nil {
		return "", err
	}
	if len(mesh) == 0 {
		var rest []any
		err := c.Get("/v1/catalog/service/"+service, &rest)
		if len(rest) > 0 {
			return "service without sidecar", err
		}
		return "gone", err
	}
	state := "passing"
	for _, check := range mesh[0].Checks {
		switch {
		case strings.HasPrefix(check.CheckID, "_service_maintenance:"):
			return "draining", nil
		case check.Status != "passing":
			state = "failing"
		}
	}
	return state, nil
}

func TestSidecarDrainsInOrder(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul})
	token := c.Token(nil)
	kit.Eventually(t, time.Minute, "Consul has it passing", func() error {
		if got, err := consulSees(consul, "orders"); got != "passing" {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
	inHand, release := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(release) })
	var answered atomic.Bool
	c.Orders.App.Extra["/held"] = func(w http.ResponseWriter, r *http.Request) {
		close(inHand)
		select {
		case <-release:
			answered.Store(true) // before the answer is out, and so before anything that follows it
			_, _ = io.WriteString(w, "held")
		case <-r.Context().Done():
		}
	}
	held := make(chan string, 1)
	go func() {
		status, body := c.Get("/orders/held", token)
		held <- fmt.Sprint(status, " ", body)
	}()
	select {
	case <-inHand:
	case got := <-held:
		t.Fatalf("the request never came to the app: %s", got)
	}
	c.Orders.Process.Signal(syscall.SIGTERM)
	var states []string
	for c.Orders.Process.Running() {
		got, err := consulSees(consul, "orders")
		if err == nil && (len(states) == 0 || states[len(states)-1] != got) {
			states = append(states, got)
			switch got {
			case "draining":
				time.AfterFunc(time.Second, answer) // time to do something wrong meanwhile
			case "gone":
				if !answered.Load() {
					t.Error("it was gone before the request in flight was answered")
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code := c.Orders.Process.Wait(time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got, err := consulSees(consul, "orders"); got != "gone" {
		t.Errorf("after the end Consul has it %s, %v", got, err)
	}
	if got := <-held; got != "200 held" {
		t.Errorf("the request in flight got %q", got)
	}
	if !slices.Contains(states, "draining") {
		t.Errorf("states %v: want it out of service first, then the answer, then gone", states)
	}
	if slices.Contains(states, "failing") {
		t.Error("Consul found it failing before it said that it drains: callers were refused")
	}
}
