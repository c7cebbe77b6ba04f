package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"
)

// idleConnections is how many clients are connected and silent.
const idleConnections = 10000

// holdIdle opens the connections, makes one request on each and leaves them
// open. What the contender's memory grew by, per connection, is the figure.
func holdIdle(ctx context.Context, b *Bench, t Turn) (Load, error) {
	before, err := t.Running.rss()
	if err != nil {
		return Load{}, err
	}
	open := make([]net.Conn, idleConnections)
	defer func() {
		for _, c := range open {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	head := requestHead("GET", t.Running.Addr, "/", "")
	const workers = 32
	l := work(workers, func(i int, t2 *tally) {
		for k := i; k < len(open) && ctx.Err() == nil; k += workers {
			start := time.Now()
			conn, err := net.DialTimeout("tcp", t.Running.Addr, patience)
			if err == nil {
				open[k] = conn
				err = newClient(conn).ask(head)
			}
			t2.add(time.Since(start), err)
		}
	})
	// Memory is given back, or taken, some time after: the median of what is
	// seen over the turn, while nothing happens.
	var seen []float64
	for range t.Seconds * 4 {
		if err := b.sleep(ctx, 250*time.Millisecond); err != nil {
			return l, err
		}
		now, err := t.Running.rss()
		if err != nil {
			return l, err
		}
		seen = append(seen, float64(now-before)/1024/idleConnections)
	}
	slices.Sort(seen)
	l.IdleKB = seen[len(seen)/2]
	closed := 0
	for _, c := range open {
		if c != nil && gone(c) {
			closed++
		}
	}
	if closed > 0 {
		l.Failed += int64(closed)
		l.Why = fmt.Sprintf("%d of the idle connections were closed", closed)
	}
	return l, nil
}

// gone tells whether the other side has closed an idle connection.
func gone(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Microsecond))
	_, err := c.Read(make([]byte, 1))
	ne, ok := err.(net.Error)
	return !ok || !ne.Timeout()
}
