package kit

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Shot is one kind of request that a load sends.
type Shot struct {
	Method, URL, Token, Body string
	Expect                   string // in the answer's body
}

// Load sends requests all the time, half of its workers over connections that
// are kept and half over a new connection each.
type Load struct {
	t        testing.TB
	sent     atomic.Int64
	stop     context.CancelFunc
	ctx      context.Context
	workers  sync.WaitGroup
	mu       sync.Mutex
	failures []string
	times    []time.Duration
	failed   int
}

// loadPause between two requests of a worker keeps the load constant and leaves
// the machine to what is being tested.
const loadPause = 8 * time.Millisecond

// StartLoad begins; every answer but a 200 that holds what is expected is a
// failure.
func StartLoad(t testing.TB, conf *tls.Config, shots ...Shot) *Load {
	l := &Load{t: t}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for i := range 2 * len(shots) {
		l.workers.Go(func() { l.work(conf, shots[i/2], i%2 == 0) })
	}
	t.Cleanup(func() { l.stop(); l.workers.Wait() })
	return l
}

func (l *Load) work(conf *tls.Config, s Shot, keep bool) {
	l.send(&http.Transport{DisableKeepAlives: !keep, TLSClientConfig: conf}, s, keep)
}

// Also adds a worker that sends over connections of tr.
func (l *Load) Also(tr *http.Transport, s Shot) {
	l.workers.Go(func() { l.send(tr, s, !tr.DisableKeepAlives) })
}

// send is one worker.
func (l *Load) send(tr *http.Transport, s Shot, keep bool) {
	defer tr.CloseIdleConnections()
	for l.ctx.Err() == nil {
		began := time.Now()
		if err := l.once(tr, s); err != nil {
			l.mu.Lock()
			if l.failed++; len(l.failures) < 20 {
				l.failures = append(l.failures, fmt.Sprintf("%s %s %s (kept connection: %t, after %s): %v",
					time.Now().Format("15:04:05.000"), s.Method, s.URL, keep, time.Since(began).Round(time.Millisecond), err))
			}
			l.mu.Unlock()
		}
		l.mu.Lock()
		l.times = append(l.times, time.Since(began))
		l.mu.Unlock()
		l.sent.Add(1)
		select {
		case <-l.ctx.Done():
		case <-time.After(loadPause):
		}
	}
}

func (l *Load) once(tr *http.Transport, s Shot) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // not the load's: the last ones finish
	defer cancel()
	var body io.Reader
	if s.Body != "" {
		body = strings.NewReader(s.Body)
	}
	req, err := http.NewRequestWithContext(ctx, s.Method, s.URL, body)
	if err != nil {
		return err
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	if s.Method == http.MethodPost {
		// A client's own transport must not repeat it, or it would hide a failure.
		req.GetBody = nil
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%d, then %w", res.StatusCode, err)
	case res.StatusCode != http.StatusOK || !strings.Contains(string(text), s.Expect):
		return fmt.Errorf("%d %.500s", res.StatusCode, text)
	}
	return nil
}

// During lets the load run for a while.
func (l *Load) During(d time.Duration) { time.Sleep(d) }

// Slowest is how long the slowest request took so far.
func (l *Load) Slowest() time.Duration { return l.Quantile(1) }

// Quantile is what a share of the requests so far took at most.
func (l *Load) Quantile(q float64) time.Duration {
	l.mu.Lock()
	times := slices.Clone(l.times)
	l.mu.Unlock()
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(q*float64(len(times)-1))]
}

// Clean ends the load once it was at least some requests, and fails the test
// unless every one got its answer. However slow the machine, it waits for them.
func (l *Load) Clean(least int64) {
	l.t.Helper()
	for deadline := time.Now().Add(time.Minute); l.sent.Load() < least && time.Now().Before(deadline); {
		l.During(10 * time.Millisecond)
	}
	l.stop()
	l.workers.Wait()
	if l.failed > 0 {
		l.t.Errorf("%d of %d requests failed:\n%s", l.failed, l.sent.Load(), strings.Join(l.failures, "\n"))
	}
	if n := l.sent.Load(); n < least {
		l.t.Errorf("the load was %d requests, too few to show anything: want %d", n, least)
	}
	l.t.Logf("%d requests, %d failed, the slowest took %s", l.sent.Load(), l.failed, l.Slowest().Round(time.Millisecond))
}
