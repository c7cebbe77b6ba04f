package main

import (
	"context"
	"net"
	"runtime"
	"time"
)

// fixedRate is what the latency scenario sends, in requests per second.
const fixedRate = 2000

// openLoop sends them at the latency scenario's rate.
func openLoop(ctx context.Context, b *Bench, t Turn) (Load, error) {
	return openLoopAt(ctx, b, t.Running.Addr, fixedRate, time.Duration(t.Seconds)*time.Second)
}

// openLoopAt sends requests at a fixed rate, whether or not answers come back in
// time, and takes each request's time from when it was meant to be sent. So a
// stall counts for every request it delayed, not for one alone.
func openLoopAt(ctx context.Context, b *Bench, addr string, rate int, length time.Duration) (Load, error) {
	head := requestHead("GET", addr, "/", "")
	count := int(int64(rate) * int64(length) / int64(time.Second))
	due := make(chan time.Time, count) // never full: the pace does not depend on the workers
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{}, b.opts.connections)
	go func() {
		defer close(due)
		for range b.opts.connections {
			select {
			case <-ready:
			case <-ctx.Done():
				return
			}
		}
		pace(ctx, rate, count, due)
	}()
	l := work(b.opts.connections, func(_ int, t *tally) {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			defer func() { _ = conn.Close() }()
			err = newClient(conn).ask(head) // the connection is not what is timed
		}
		ready <- struct{}{}
		if err != nil {
			t.add(0, err)
			return
		}
		c := newClient(conn)
		for meant := range due {
			err := c.ask(head)
			t.add(time.Since(meant), err)
			if err != nil {
				return
			}
		}
	})
	if missing := int64(count) - l.Requests - l.Failed; missing > 0 && ctx.Err() == nil {
		l.Failed += missing
		l.Why += "; requests were left unsent"
	}
	return l, ctx.Err()
}

// pace says when each request is due, as it becomes due. It keeps a thread to
// itself, so that no other goroutine delays it, and sleeps as exactly as the
// kernel can.
func pace(ctx context.Context, rate, count int, due chan<- time.Time) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exactTimers()
	began := time.Now()
	for i := range count {
		at := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		sleepUntil(at)
		if ctx.Err() != nil {
			return
		}
		due <- at
	}
}
