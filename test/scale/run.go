package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// options are the size of a run.
type options struct {
	services, endpoints int
	rate                int           // endpoints replaced each second, while there is churn
	watch               time.Duration // how long CPU is measured, each time
	effects             int           // changes whose effect is timed
	requests            int           // whose cost is measured
	watches             int           // max_watches
	dir                 string        // holds the binary "lintel"; files go there
}

// result is what was measured of one process.
type result struct {
	Mode       string
	Services   int
	Endpoints  int
	Start      time.Duration // until ready; of a sidecar, until every service was called once
	StartCPU   time.Duration
	RSS, Peak  int64
	Base       int64 // RSS of the same with one service and one endpoint
	Goroutines int
	BaseGo     int
	Conns      int64 // to Consul
	Rest       float64
	RestAsked  float64
	Churn      float64
	ChurnAsked float64
	P50, P99   time.Duration
	Metrics    int // bytes of each page
	ServicesAt int
	Readyz     int
	Reload     time.Duration
	ReloadCPU  time.Duration
	AfterRSS   int64         // after churn and reload
	Request    time.Duration // CPU of one
}

// run measures the process of a mode against so many services.
func run(o options, mode string) (r result, err error) {
	port, end, err := startBackend()
	if err != nil {
		return r, err
	}
	defer end()
	c, err := startConsul(o.services, o.endpoints, port)
	if err != nil {
		return r, err
	}
	defer c.end()
	listen, err := freeAddr()
	if err != nil {
		return r, err
	}
	admin, err := freeAddr()
	if err != nil {
		return r, err
	}
	mesh, err := freeAddr()
	if err != nil {
		return r, err
	}
	text := ingressConfig(o, c.addr, listen, admin)
	if mode == "sidecar" {
		text = sidecarConfig(o, c.addr, listen, mesh, admin)
	}
	p, err := start(o.dir, mode, text, admin)
	if err != nil {
		return r, err
	}
	defer p.kill()
	r.Mode, r.Services, r.Endpoints = mode, o.services, o.endpoints
	if mode == "sidecar" {
		if err := callAll(o, listen); err != nil {
			return r, err
		}
	}
	r.Start = time.Since(p.began)
	if err := complete(p, o); err != nil {
		return r, err
	}
	for _, m := range []func(*result, options, *process, *consul, string) error{standing, atRest, churning, effects, requests, reloading} {
		if err := m(&r, o, p, c, listen); err != nil {
			return r, fmt.Errorf("%s: %w\n%s", mode, err, tail(p.stderr.String()))
		}
	}
	c.other.Range(func(path, _ any) bool {
		err = errors.Join(err, fmt.Errorf("the synthetic Consul was asked for %s, which it does not have", path))
		return true
	})
	return r, err
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// complete waits until every endpoint is known.
func complete(p *process, o options) error {
	want := float64(o.services * o.endpoints)
	var n float64
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n, _, err = p.metric("lintel_endpoints"); err == nil && n == want {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("expected %v endpoints, found %v", want, n), err)
}

func standing(r *result, _ options, p *process, c *consul, _ string) (err error) {
	if r.StartCPU, err = p.cpu(); err != nil {
		return err
	}
	if r.RSS, r.Peak, err = p.memory(); err != nil {
		return err
	}
	n, _, err := p.metric("go_goroutines")
	if err != nil {
		return err
	}
	r.Goroutines, r.Conns = int(n), c.conns.Load()
	for path, to := range map[string]*int{"metrics": &r.Metrics, "services": &r.ServicesAt, "readyz": &r.Readyz} {
		page, err := get("http://" + p.admin + "/" + path)
		if err != nil {
			return err
		}
		*to = len(page)
	}
	return nil
}

// share is the CPU used, of one core, and the questions to Consul per second.
func share(o options, p *process, c *consul) (cpu, asked float64, err error) {
	began, questions := time.Now(), c.asked.Load()
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(o.watch)
	after, err := p.cpu()
	took := time.Since(began).Seconds()
	return (after - before).Seconds() / took, float64(c.asked.Load()-questions) / took, err
}

func atRest(r *result, o options, p *process, c *consul, _ string) (err error) {
	r.Rest, r.RestAsked, err = share(o, p, c)
	return err
}

func churning(r *result, o options, p *process, c *consul, _ string) (err error) {
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() { c.churn(o.rate, stop) })
	r.Churn, r.ChurnAsked, err = share(o, p, c)
	close(stop)
	churn.Wait()
	return err
}

// effects times, while other endpoints change, from the change of all endpoints
// of a service until a request goes to one of the new ones.
func effects(r *result, o options, _ *process, c *consul, listen string) error {
	if r.Mode != "ingress" {
		return nil // its answers come from endpoints that are no Lintels
	}
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() { c.churn(o.rate, stop) })
	defer func() { close(stop); churn.Wait() }()
	var took []time.Duration
	for i := range o.effects {
		n := i * 7 % o.services
		url := "http://" + listen + "/" + serviceName(n) + "/"
		began := time.Now()
		for fresh := c.change(n, true); ; time.Sleep(200 * time.Microsecond) {
			at, err := get(url)
			if err != nil {
				return err
			}
			if fresh[at] {
				break
			}
			if time.Since(began) > 30*time.Second {
				return fmt.Errorf("a change of %s had no effect within 30 s", serviceName(n))
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	r.P50, r.P99 = took[len(took)/2], took[(len(took)*99-1)/100]
	return nil
}

// requests go to one service, all of whose endpoints have connections.
func requests(r *result, o options, p *process, _ *consul, listen string) error {
	if r.Mode != "ingress" || o.requests == 0 {
		return nil
	}
	ask := func(n int) error {
		for range n {
			if _, err := get("http://" + listen + "/" + serviceName(o.services-1) + "/"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := ask(10 * o.endpoints); err != nil { // connections are made
		return err
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	if err := ask(o.requests); err != nil {
		return err
	}
	after, err := p.cpu()
	r.Request = (after - before) / time.Duration(o.requests)
	return err
}

// reloading times a reload that changes one route's name.
func reloading(r *result, _ options, p *process, _ *consul, _ string) error {
	file := p.cmd.Args[3]
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "5xx_marker", "5xx_marker_2", 1)), 0o600); err != nil {
		return err
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	resp, err := client.Post("http://"+p.admin+"/reload", "", nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("reload: expected 200, found %s", resp.Status)
	}
	r.Reload = time.Since(began)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	r.ReloadCPU = after - before
	r.AfterRSS, _, err = p.memory()
	return err
}

// callAll calls every service once: so a sidecar finds them.
func callAll(o options, listen string) error {
	var calling sync.WaitGroup
	turns := make(chan int)
	failed := make(chan error, 1)
	for range 8 {
		calling.Go(func() {
			for i := range turns {
				req, _ := http.NewRequest(http.MethodGet, "http://"+listen+"/", nil)
				req.Host = serviceName(i)
				resp, err := client.Do(req)
				if err == nil {
					_ = resp.Body.Close()
					continue
				}
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	for i := range o.services {
		turns <- i
	}
	close(turns)
	calling.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func ingressConfig(o options, consul, listen, admin string) string {
	var c strings.Builder
	fmt.Fprintf(&c, "version: 1\nlisteners: [{name: edge, address: %q}]\ndiscovery: {consul: {address: %q, max_watches: %d}, cache_dir: %q}\n"+
		"admin: {address: %q}\ntracing: {access_log: {format: \"off\"}}\nroutes:\n  - {name: 5xx_marker, match: {path: /none}, service: %s}\n",
		listen, consul, o.watches, filepath.Join(o.dir, "cache"), admin, serviceName(0))
	for i := range o.services {
		fmt.Fprintf(&c, "  - {name: r%d, match: {path: /%s/*}, service: %s}\n", i, serviceName(i), serviceName(i))
	}
	c.WriteString("services:\n")
	for i := range o.services {
		fmt.Fprintf(&c, "  %s: {}\n", serviceName(i))
	}
	return c.String()
}

func sidecarConfig(o options, consul, listen, mesh, admin string) string {
	return fmt.Sprintf("version: 1\nsidecar: {service: client, mesh: %q, outbound: %q}\ndiscovery: {consul: {address: %q, max_watches: %d}}\n"+
		"identity: {source: embedded, embedded: {dir: %q}}\nadmin: {address: %q}\ntracing: {access_log: {format: \"off\"}}\n",
		mesh, listen, consul, o.watches, filepath.Join(o.dir, "ca"), admin)
}
