package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// catalog speaks as much of Consul's HTTP API as following one service takes:
// blocking queries for its endpoints. A real Consul with tens of thousands of
// instances would need most of the machine for itself.
type catalog struct {
	addr    string
	port    string // of every endpoint
	mu      sync.Mutex
	entries [][]byte
	made    int
	index   uint64
	changed chan struct{} // closed by the next change
	answers int
	server  *http.Server
	stop    chan struct{}
}

// startCatalog serves size endpoints and replaces share of them every second.
// All are this machine: every address of 127.0.0.0/8 is, so each can differ.
func startCatalog(size, share int, port string) (*catalog, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &catalog{addr: addr, port: port, entries: make([][]byte, size), index: 1, changed: make(chan struct{}), stop: make(chan struct{})}
	for i := range c.entries {
		c.entries[i] = c.entry()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health/service/app", c.health)
	mux.HandleFunc("GET /v1/status/leader", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `"127.0.0.1:8300"`) })
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = c.server.Serve(l) }()
	go c.churn(share)
	return c, nil
}

func (c *catalog) end() {
	close(c.stop)
	_ = c.server.Close()
}

// entry is one more endpoint, at an address that was not used before.
func (c *catalog) entry() []byte {
	c.made++
	n := c.made
	ip := fmt.Sprintf("127.%d.%d.%d", 16+n>>16&127, n>>8&255, n&255)
	id := fmt.Sprintf("app-%07d", n)
	return fmt.Appendf(nil, `{"Node":{"ID":"node-%07d","Node":"node-%d","Address":%q,"Datacenter":"dc1","Meta":{}},`+
		`"Service":{"ID":%q,"Service":"app","Tags":["v1"],"Address":%q,"Meta":{"version":"1"},"Port":%s,"Weights":{"Passing":1,"Warning":1}},`+
		`"Checks":[{"Node":"node-%d","CheckID":"check-%d","Name":"alive","Status":"passing","ServiceID":%q,"ServiceName":"app"}]}`,
		n, n, ip, id, ip, c.port, n, n, id)
}

func (c *catalog) churn(share int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for at := 0; ; {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		for range share {
			c.entries[at%len(c.entries)] = c.entry()
			at++
		}
		c.index++
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
	}
}

// health answers at once, or once there is something newer than the index asked with.
func (c *catalog) health(w http.ResponseWriter, r *http.Request) {
	known, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	late := time.After(wait)
	c.mu.Lock()
	for c.index <= known {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			known = 0
		case <-r.Context().Done():
			return
		case <-c.stop:
			return
		}
		c.mu.Lock()
	}
	index, body := c.index, bytes.Join(c.entries, []byte(","))
	c.answers++
	c.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-KnownLeader", "true")
	h.Set("X-Consul-LastContact", "0")
	_, _ = fmt.Fprintf(w, "[%s]", body)
}

// told is how often all endpoints were told to someone.
func (c *catalog) told() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers
}

// gauge finds a metric without labels, or the first with some.
func gauge(metrics, name string) (float64, error) {
	for line := range strings.Lines(metrics) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		i := strings.LastIndexByte(strings.TrimSpace(rest), ' ')
		return strconv.ParseFloat(strings.TrimSpace(rest)[i+1:], 64)
	}
	return 0, fmt.Errorf("metric %s is not among the metrics", name)
}
