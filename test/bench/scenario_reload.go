package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// reload10k changes one of 10,000 routes and reloads, over and over, under load.
func reload10k() *Scenario {
	return &Scenario{
		Name:       "reload_10k",
		Title:      "reloading 10,000 routes under load",
		Metric:     cpuPerRequest,
		Target:     "no failed request",
		Tools:      []string{"wrk"},
		Path:       routePath(manyRoutes / 2)[1:] + "/x",
		Answer:     smallAnswer,
		Contenders: edges(Edge{Routes: manyRoutes}, "lintel"),
		Warm:       wrkGet,
		Load:       reloadLoad,
	}
}

// enoughReloads is how many a turn has at least, however long they take.
const enoughReloads = 2

// reloadPatience is how long one may take. It shares a core with a proxy that
// is kept busy, on a machine that may be busy otherwise.
const reloadPatience = 2 * time.Minute

func reloadLoad(ctx context.Context, b *Bench, t Turn) (Load, error) {
	ctx, stop := context.WithTimeout(ctx, time.Duration(t.Seconds)*time.Second+3*reloadPatience)
	defer stop()
	var took []time.Duration
	var mu sync.Mutex
	failed := make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil && ctx.Err() == nil; n++ {
			start := time.Now()
			if err = reload(ctx, t.Running, t.Round*1000+n); err == nil {
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		}
		failed <- err
	}()
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(took) >= enoughReloads
	}
	l, err := wrkGet(ctx, b, t)
	for err == nil && !enough() {
		var more Load
		more, err = wrkGet(ctx, b, t)
		l = l.and(more)
	}
	stop()
	rerr := <-failed
	if rerr != nil && !errors.Is(rerr, context.Canceled) {
		return l, rerr // it also explains why the load did not end
	}
	if err != nil {
		return l, err
	}
	slices.Sort(took)
	l.Note = fmt.Sprintf("%d reloads in %.0f s under load, the median one in force after %d ms", len(took), l.Elapsed.Seconds(), percentile(took, 50).Milliseconds())
	return l, nil
}

// and is both, with the worse latencies.
func (l Load) and(m Load) Load {
	l.Requests, l.Elapsed, l.Failed = l.Requests+m.Requests, l.Elapsed+m.Elapsed, l.Failed+m.Failed
	l.P50, l.P99 = max(l.P50, m.P50), max(l.P99, m.P99)
	if l.Why == "" {
		l.Why = m.Why
	}
	return l
}

// reload puts a changed configuration in place, says so, and waits until its
// own answer shows that it is in force.
func reload(ctx context.Context, r *Running, n int) error {
	p := r.Procs[0]
	old, err := os.ReadFile(p.File)
	if err != nil {
		return err
	}
	// The route for /version stands between the others and the services.
	routes, services, _ := strings.Cut(string(old), "services:\n")
	routes, _, _ = strings.Cut(routes, "  - name: version\n")
	text := fmt.Sprintf("%s  - name: version\n    match: {path: /version}\n    respond: {body: \"version %d\"}\nservices:\n%s", routes, n, services)
	if err := os.WriteFile(p.File+".new", []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(p.File+".new", p.File); err != nil {
		return err
	}
	if err := syscall.Kill(p.group, syscall.SIGHUP); err != nil {
		return err
	}
	for began := time.Now(); ; {
		body, err := get(ctx, "http://"+r.Addr+"/version")
		if err != nil {
			return err
		}
		if body == fmt.Sprintf("version %d", n) {
			return nil
		}
		if time.Since(began) > reloadPatience {
			return fmt.Errorf("a reload is not in force after %v: /version says %q%s", reloadPatience, body, r.complaints())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
