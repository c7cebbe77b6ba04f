package jwt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Remote is an issuer's key set, fetched by one goroutine: in the background at
// intervals, and when a request meets an unknown key id, that at most once per
// MinRefresh. It lives in the store and survives reloads.
type Remote struct {
	url    string
	cfg    Fetching
	client *http.Client
	log    *slog.Logger
	state  atomic.Pointer[fetched]

	mu       sync.Mutex
	inflight chan struct{} // closed when the running fetch ends; nil when none runs
	last     time.Time     // when the last fetch began
	next     time.Time     // when the next one is due
	err      error         // why the last one failed

	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// fetched is what the issuer last said.
type fetched struct {
	set *keySet
	at  time.Time
}

// newRemote begins the first fetch and returns at once.
func newRemote(address string, cfg Fetching, log *slog.Logger) (*Remote, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // minutes lie between two fetches
	transport.MaxResponseHeaderBytes = 64 << 10
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("jwt: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("jwt: %s holds no PEM certificate", cfg.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Remote{
		url: address, cfg: cfg, log: log, cancel: cancel,
		wake: make(chan struct{}, 1), done: make(chan struct{}), inflight: make(chan struct{}),
		client: &http.Client{Transport: transport, Timeout: cfg.Timeout, CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 3 {
				return errors.New("more than 3 redirects")
			}
			return checkURL(req.URL, cfg.Insecure)
		}},
	}
	go r.run(ctx)
	return r, nil
}

// checkURL wants https: who can change the keys on their way can forge tokens.
func checkURL(u *url.URL, insecure bool) error {
	switch {
	case u.Host == "" || u.User != nil:
		return errors.New("want an address such as https://issuer.example/jwks, without user name")
	case u.Scheme == "https", u.Scheme == "http" && (insecure || loopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("http lets anyone on the way forge tokens: use https, or jwks.insecure where that cannot happen")
	}
	return fmt.Errorf("scheme %q is not https", u.Scheme)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close stops fetching and waits for the goroutine to end.
func (r *Remote) Close() error {
	r.cancel()
	<-r.done
	return nil
}

// current returns the keys, nil when none could be had yet or the last good
// ones are older than MaxStale.
func (r *Remote) current(now time.Time) *keySet {
	s := r.state.Load()
	if s == nil || now.Sub(s.at) > r.cfg.MaxStale {
		return nil
	}
	return s.set
}

// retryIn says how long it is until the next fetch, at least a second.
func (r *Remote) retryIn(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.next.Sub(now), time.Second)
}

// refresh has the set fetched unless that was done within MinRefresh, and
// waits for the fetch that runs, at most Timeout. However many ask, one fetch
// runs; within MinRefresh the last outcome stands.
func (r *Remote) refresh(ctx context.Context) error {
	r.mu.Lock()
	running := r.inflight
	if running == nil {
		if time.Since(r.last) < r.cfg.MinRefresh {
			r.mu.Unlock()
			return nil
		}
		running = make(chan struct{})
		r.inflight = running
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	r.mu.Unlock()
	timeout := time.NewTimer(r.cfg.Timeout)
	defer timeout.Stop()
	select {
	case <-running:
		return nil
	case <-r.done:
		return nil
	case <-timeout.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Remote) run(ctx context.Context) {
	defer close(r.done)
	for failures := 0; ; {
		r.begin()
		err := r.fetch(ctx)
		wait := jitter(r.cfg.Refresh)
		if err != nil {
			wait = jitter(min(time.Second<<min(failures, 20), r.cfg.MinRefresh))
			failures++
		} else {
			failures = 0
		}
		r.end(err, wait)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.log.Warn("jwt: key set not fetched", "url", r.url, "err", err, "retry_in", wait, "keys_kept", r.current(time.Now()) != nil)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		}
	}
}

// begin marks a fetch as running and takes back a wake-up it answers.
func (r *Remote) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inflight == nil {
		r.inflight = make(chan struct{})
	}
	select {
	case <-r.wake:
	default:
	}
	r.last = time.Now()
}

func (r *Remote) end(err error, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.next = time.Now().Add(wait)
	close(r.inflight)
	r.inflight = nil
}

// jitter spreads d by a tenth either way.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

func (r *Remote) fetch(ctx context.Context) error {
	at := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer answered %s, want 200", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(r.cfg.MaxBytes)+1))
	if err != nil {
		return err
	}
	if len(body) > r.cfg.MaxBytes {
		return fmt.Errorf("the key set is longer than jwks.max_bytes, %d", r.cfg.MaxBytes)
	}
	keys, skipped, err := parseSet(body)
	if err != nil {
		return err
	}
	if skipped != nil {
		r.log.Debug("jwt: keys left out of the set", "url", r.url, "err", errors.Join(skipped...))
	}
	set := &keySet{keys: keys}
	old := r.state.Load()
	if old != nil && old.set.equal(set) {
		set = old.set // nothing changed: cached tokens stay good
	} else {
		r.log.Info("jwt: key set fetched", "url", r.url, "keys", len(keys))
	}
	r.state.Store(&fetched{set: set, at: at})
	return nil
}
