package ops_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// balancer is a load balancer as they stand before ingresses: it takes TCP
// connections in turn to whichever instances their readiness says are ready, as
// of its last look.
type balancer struct {
	addr      string
	instances []*balanced
	next      atomic.Uint64
}

type balanced struct {
	edge, probes string
	ready        atomic.Bool
}

const looksEvery = 50 * time.Millisecond

func startBalancer(t testing.TB, instances ...*balanced) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{addr: l.Addr().String(), instances: instances}
	stop := make(chan struct{})
	var working sync.WaitGroup
	for _, i := range instances {
		working.Go(func() {
			for {
				code, _ := fetch(i.probes, "/readyz")
				i.ready.Store(code == http.StatusOK)
				select {
				case <-stop:
					return
				case <-time.After(looksEvery):
				}
			}
		})
	}
	working.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			working.Go(func() { b.join(conn) })
		}
	})
	t.Cleanup(func() { close(stop); _ = l.Close(); working.Wait() })
	return b
}

func (b *balancer) pick() *balanced {
	n := b.next.Add(1)
	for k := range b.instances {
		if i := b.instances[(n+uint64(k))%uint64(len(b.instances))]; i.ready.Load() {
			return i
		}
	}
	return b.instances[0]
}

// join carries bytes both ways until one side ends.
func (b *balancer) join(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.DialTimeout("tcp", b.pick().edge, 5*time.Second)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}

func TestRollingRestartBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	var all []*balanced
	var running []*kit.Process
	var files []string
	for range 2 {
		i := &balanced{edge: kit.FreeAddr(t), probes: kit.FreeAddr(t)}
		files = append(files, kit.File(t, "ingress.yaml", strings.NewReplacer(c.Edge, i.edge, fmt.Sprintf("admin: {address: %q}", c.Admin),
			fmt.Sprintf("admin: {address: off, probes: %q}", i.probes), "drain: 10s", "drain: 10s, delay: 500ms").Replace(c.Config)))
		running = append(running, kit.Start(t, nil, "ingress", "-c", files[len(files)-1]).Ready(i.probes))
		all = append(all, i)
	}
	b := startBalancer(t, all...)
	post := kit.Shot{Method: "POST", URL: "http://" + b.addr + "/open/x", Body: "once", Expect: `"app":"orders"`}
	kit.Eventually(t, time.Minute, "both are in service", func() error {
		for _, i := range all {
			if !i.ready.Load() {
				return fmt.Errorf("%s is not", i.edge)
			}
		}
		return nil
	})
	two := new(http.Protocols)
	two.SetUnencryptedHTTP2(true)
	l := kit.StartLoad(t, nil, post, kit.Shot{Method: "GET", URL: "http://" + b.addr + "/orders/x", Token: c.Token(nil), Expect: `"app":"orders"`})
	l.Also(&http.Transport{Protocols: two}, post)
	for range 2 {
		for k, i := range all {
			l.During(200 * time.Millisecond)
			running[k].Signal(syscall.SIGTERM)
			if code := running[k].Wait(time.Minute); code != 0 {
				t.Errorf("exit code %d: something was cut", code)
			}
			running[k] = kit.Start(t, nil, "ingress", "-c", files[k]).Ready(i.probes)
			kit.Eventually(t, time.Minute, "it is in service again", func() error {
				if !i.ready.Load() {
					return fmt.Errorf("not yet")
				}
				return nil
			})
		}
	}
	l.Clean(500)
}
