package main

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tally is what one worker of a load generator saw.
type tally struct {
	took   []time.Duration
	failed int64
	why    string
}

func (t *tally) add(d time.Duration, err error) {
	if err == nil {
		t.took = append(t.took, d)
		return
	}
	t.failed++
	t.why = err.Error()
}

// work runs n workers, each with a tally, and makes one Load of them.
func work(n int, worker func(i int, t *tally)) Load {
	tallies := make([]tally, n)
	began := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { worker(i, &tallies[i]) })
	}
	all.Wait()
	l := Load{Elapsed: time.Since(began)}
	var took []time.Duration
	for _, t := range tallies {
		took = append(took, t.took...)
		l.Failed += t.failed
		if t.why != "" {
			l.Why = t.why
		}
	}
	slices.Sort(took)
	l.Requests, l.P50, l.P99 = int64(len(took)), percentile(took, 50), percentile(took, 99)
	return l
}

// sendAll sends every request once, over n connections that stay open.
func sendAll(ctx context.Context, addr string, n int, heads [][]byte) (Load, error) {
	var next atomic.Int64
	return work(n, func(_ int, t *tally) {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			t.add(0, err)
			return
		}
		defer func() { _ = conn.Close() }()
		c := newClient(conn)
		for ctx.Err() == nil {
			i := next.Add(1) - 1
			if i >= int64(len(heads)) {
				return
			}
			start := time.Now()
			err := c.ask(heads[i])
			t.add(time.Since(start), err)
			if err != nil {
				return
			}
		}
	}), ctx.Err()
}

// noResumption is a TLS client that agrees on X25519 only and cannot resume:
// it offers no way to, so that servers do not even make a ticket. Whose
// certificate it is was decided when the server was started.
var noResumption = &tls.Config{InsecureSkipVerify: true, SessionTicketsDisabled: true,
	MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}

// newConnections opens a connection per request, n at a time.
func newConnections(ctx context.Context, b *Bench, t Turn) (Load, error) {
	addr, secure := t.Running.Addr, len(t.Running.Contender.Hops) > 0 && t.Running.Contender.Hops[0].TLS
	head := requestHead("GET", addr, "/", "Connection: close\r\n")
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.Seconds)*time.Second)
	defer cancel()
	return work(b.opts.connections, func(i int, t *tally) {
		// Clients of several addresses: one alone runs out of ports.
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%64))}}
		for ctx.Err() == nil {
			start := time.Now()
			err := once(d, addr, secure, head)
			t.add(time.Since(start), err)
			if err != nil {
				return // the round is lost; no need to hammer
			}
		}
	}), nil
}

// once is one request on a connection of its own. ctx is not for it: a request
// that was begun is brought to its end.
func once(d net.Dialer, addr string, secure bool, head []byte) error {
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if secure {
		conn = tls.Client(conn, noResumption)
	}
	return newClient(conn).ask(head)
}
