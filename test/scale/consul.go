package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// consul speaks as much of Consul's HTTP API as following services takes:
// blocking queries with an index per service, as Consul's health endpoint has it.
type consul struct {
	addr   string
	port   string // of every endpoint
	index  atomic.Uint64
	made   atomic.Uint64
	server *http.Server
	stop   chan struct{}

	services map[string]*instances
	names    []string

	critical *checks

	asked atomic.Int64 // questions about services
	conns atomic.Int64 // open connections
	other sync.Map     // paths that it does not serve
}

type instances struct {
	mu      sync.Mutex
	name    string
	entries [][]byte
	index   uint64
	changed chan struct{} // closed by the next change
}

// startConsul serves services of so many endpoints each, all at this machine:
// every address of 127.0.0.0/8 is, so each endpoint has its own.
func startConsul(services, endpoints int, port string) (*consul, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &consul{addr: l.Addr().String(), port: port, stop: make(chan struct{}), services: map[string]*instances{},
		critical: &checks{of: map[string]uint64{}, index: 1, changed: make(chan struct{})}}
	for i := range services {
		s := &instances{name: serviceName(i), changed: make(chan struct{}), index: c.index.Add(1)}
		for range endpoints {
			entry, _ := c.entry(s.name)
			s.entries = append(s.entries, entry)
		}
		c.services[s.name] = s
		c.names = append(c.names, s.name)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health/service/{name}", c.health)
	mux.HandleFunc("GET /v1/health/connect/{name}", c.health)
	mux.HandleFunc("GET /v1/health/state/critical", c.failing)
	mux.HandleFunc("GET /v1/status/leader", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `"127.0.0.1:8300"`) })
	mux.HandleFunc("GET /v1/agent/self", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"Config":{"Datacenter":"dc1","NodeName":"node-1","Version":"1.19.2"},"Member":{"Addr":"127.0.0.1"},"Meta":{}}`)
	})
	mux.HandleFunc("GET /v1/connect/intentions/match", func(w http.ResponseWriter, r *http.Request) {
		c.still(w, r, fmt.Sprintf(`{%q: []}`, r.URL.Query().Get("name")))
	})
	mux.HandleFunc("GET /v1/agent/connect/ca/roots", func(w http.ResponseWriter, r *http.Request) {
		c.still(w, r, `{"ActiveRootID":"","TrustDomain":"lintel.local","Roots":[]}`)
	})
	mux.HandleFunc("POST /v1/agent/connect/authorize", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"Authorized":true,"Reason":"default"}`)
	})
	mux.HandleFunc("GET /v1/config/service-intentions/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "Config entry not found", http.StatusNotFound)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.other.Store(r.Method+" "+r.URL.Path, true)
		http.NotFound(w, r)
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			c.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			c.conns.Add(-1)
		}
	}}
	go func() { _ = c.server.Serve(l) }()
	return c, nil
}

// still answers what never changes: once, and then no more.
func (c *consul) still(w http.ResponseWriter, r *http.Request, body string) {
	if r.URL.Query().Has("index") {
		select {
		case <-r.Context().Done():
		case <-c.stop:
		}
		return
	}
	w.Header().Set("X-Consul-Index", "1")
	_, _ = fmt.Fprint(w, body)
}

func (c *consul) end() {
	close(c.stop)
	_ = c.server.Close()
}

func serviceName(i int) string { return fmt.Sprintf("svc-%04d", i) }

// entry is one more endpoint, at an address that was not used before.
func (c *consul) entry(service string) (text []byte, ip string) {
	n := c.made.Add(1)
	ip = fmt.Sprintf("127.%d.%d.%d", 16+n>>16&127, n>>8&255, n&255)
	id := fmt.Sprintf("%s-%07d", service, n)
	return fmt.Appendf(nil, `{"Node":{"ID":"node-%07d","Node":"node-%d","Address":%q,"Datacenter":"dc1","Meta":{"zone":"z%d"}},`+
		`"Service":{"ID":%q,"Service":%q,"Tags":["v1"],"Address":%q,"Meta":{"version":"1"},"Port":%s,"Weights":{"Passing":1,"Warning":1}},`+
		`"Checks":[{"Node":"node-%d","CheckID":"check-%d","Name":"alive","Status":"passing","ServiceID":%q,"ServiceName":%q}]}`,
		n, n, ip, n%3, id, service, ip, c.port, n, n, id, service), ip
}

// change replaces one endpoint of the nth service, or all of them; it tells the new addresses.
func (c *consul) change(n int, all bool) map[string]bool {
	s := c.services[c.names[n%len(c.names)]]
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := map[string]bool{}
	for i := range s.entries {
		if !all && i > 0 {
			break
		}
		at := i
		if !all {
			at = n / len(c.names) % len(s.entries)
		}
		entry, ip := c.entry(s.name)
		s.entries[at], fresh[ip] = entry, true
	}
	s.index = c.index.Add(1)
	close(s.changed)
	s.changed = make(chan struct{})
	c.critical.replace(s.name, s.index)
	return fresh
}

// checks are those that are critical: of the instance of a service that was
// replaced last, until the next is.
type checks struct {
	mu      sync.Mutex
	of      map[string]uint64 // the change that replaced it
	index   uint64
	changed chan struct{} // closed by the next change
}

func (k *checks) replace(service string, n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.of[service] = n
	k.index++
	close(k.changed)
	k.changed = make(chan struct{})
}

// failing answers once there is something newer than the index asked with.
func (c *consul) failing(w http.ResponseWriter, r *http.Request) {
	known, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	k := c.critical
	k.mu.Lock()
	for k.index <= known {
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-c.stop:
			return
		}
		k.mu.Lock()
	}
	index := k.index
	list := make([]string, 0, len(k.of))
	for service, n := range k.of {
		list = append(list, fmt.Sprintf(`{"Node":"node-0","CheckID":"check-%d","Status":"critical","ServiceID":"%s-%d","ServiceName":%q}`, n, service, n, service))
	}
	k.mu.Unlock()
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	_, _ = fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
}

// churn makes rate changes a second, one service after another, until stop is closed.
func (c *consul) churn(rate int, stop <-chan struct{}) {
	const step = 50 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	began, done := time.Now(), 0
	for {
		select {
		case <-stop:
			return
		case <-c.stop:
			return
		case now := <-tick.C:
			for due := int(now.Sub(began).Seconds() * float64(rate)); done < due; done++ {
				c.change(done, false)
			}
		}
	}
}

// health answers at once, or once there is something newer than the index asked with.
func (c *consul) health(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	s := c.services[strings.TrimSuffix(r.PathValue("name"), "/")]
	if s == nil {
		w.Header().Set("X-Consul-Index", "1")
		_, _ = fmt.Fprint(w, "[]")
		return
	}
	known, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	s.mu.Lock()
	for s.index <= known {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-late.C:
			known = 0
		case <-r.Context().Done():
			return
		case <-c.stop:
			return
		}
		s.mu.Lock()
	}
	index, body := s.index, bytes.Join(s.entries, []byte(","))
	s.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-KnownLeader", "true")
	h.Set("X-Consul-LastContact", "0")
	_, _ = fmt.Fprintf(w, "[%s]", body)
}
