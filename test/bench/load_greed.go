package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	flight = 64      // requests that the flood has in flight on its connection
	refill = 16      // so many answers, and as many more are sent
	gulp   = 1 << 18 // what the download reads at once
)

// besideGreed times small requests at a fixed rate while a greedy client
// downloads 1 GB answers, one after the other and as fast as they come, and
// another floods a connection with pipelined requests. The contender that is
// called lintel_alone is spared both.
func besideGreed(ctx context.Context, b *Bench, t Turn) (Load, error) {
	// Load shares a core. A P for each of us, and a low priority for the greedy,
	// keeps it the kernel's task to share it, and theirs to wait: what the small
	// requests wait for is then the proxy.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	if t.Running.Contender.Name != "lintel" {
		return openLoopAt(ctx, b, t, smallRate)
	}
	within, stop := context.WithCancel(ctx)
	defer stop()
	download, flood := newGreed("download", pull), newGreed("flood", pour)
	var both sync.WaitGroup
	for _, g := range []*greed{download, flood} {
		both.Go(func() { g.run(within, t.Running.Addr) })
	}
	<-download.begun
	<-flood.begun
	l, err := openLoopAt(ctx, b, t, smallRate)
	stop()
	both.Wait()
	for _, g := range []*greed{download, flood} {
		if g.err != nil {
			l.Failed++
			l.Why = fmt.Sprintf("%s: %v", g.name, g.err)
		}
	}
	l.Shared = true
	l.Note = fmt.Sprintf("beside a download of %.0f MB/s and a flood of %.0f requests/s", download.rate()/1e6, flood.rate())
	return l, err
}

// greed is one client that takes all it can get.
type greed struct {
	name  string
	take  func(context.Context, *client, string, *greed) error
	begun chan struct{} // closed when it got something, or cannot
	got   int64         // bytes or answers
	took  time.Duration
	err   error
}

func newGreed(name string, take func(context.Context, *client, string, *greed) error) *greed {
	return &greed{name: name, take: take, begun: make(chan struct{})}
}

// run goes on until ctx ends, which is no failure: not even in the middle of an answer.
func (g *greed) run(ctx context.Context, addr string) {
	defer func() {
		if g.got == 0 {
			close(g.begun)
		}
	}()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		g.err = err
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	began := time.Now()
	err = g.take(ctx, &client{conn, bufio.NewReaderSize(conn, gulp)}, addr, g)
	if ctx.Err() == nil {
		g.err = err
	}
	g.took = time.Since(began)
}

// more counts what came.
func (g *greed) more(n int) {
	if g.got == 0 && n > 0 {
		close(g.begun)
	}
	g.got += int64(n)
}

func (g *greed) rate() float64 { return float64(g.got) / max(g.took.Seconds(), 1e-9) }

// pull asks for the greatest answer again and again, and throws it away.
func pull(ctx context.Context, c *client, addr string, g *greed) error {
	head := requestHead("GET", addr, "/file/1g", "")
	for ctx.Err() == nil {
		if err := c.send(head); err != nil {
			return err
		}
		left, _, err := c.head()
		if err != nil {
			return err
		}
		if left != hugeAnswer {
			return fmt.Errorf("expected an answer of %d bytes, found %d", hugeAnswer, left)
		}
		for left > 0 {
			if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			n, err := c.r.Discard(int(min(left, gulp)))
			g.more(n)
			if err != nil {
				return err
			}
			left -= int64(n)
		}
	}
	return nil
}

// pour never lets the requests in flight run out.
func pour(ctx context.Context, c *client, addr string, g *greed) error {
	head := requestHead("GET", addr, "/", "")
	more := bytes.Repeat(head, refill)
	if err := c.send(bytes.Repeat(head, flight-refill)); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := c.send(more); err != nil {
			return err
		}
		for range refill {
			if err := c.answer(); err != nil {
				return err
			}
			g.more(1)
		}
	}
	return nil
}
