package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// greedCommand is how this program starts itself as a greedy client.
const greedCommand = "be-greedy"

const (
	flight = 64 // requests that the flood has in flight on its connection
	refill = 16 // so many answers, and as many more are sent
	// gulp is what the download reads at once: the kernel may let nobody else
	// run until it has copied that.
	gulp   = 128 << 10
	tellBy = 20 * time.Millisecond
)

// beGreedy takes all that addr gives, by one connection, and says every now and
// then how much that was, and when. It ends only with an error.
func beGreedy(kind, addr string, out io.Writer) error {
	take := map[string]func(*client, []byte, *atomic.Int64) error{"download": pull, "flood": pour}[kind]
	if take == nil {
		return fmt.Errorf("expected download or flood, found %q", kind)
	}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var got atomic.Int64
	over := make(chan error, 1)
	go func() { over <- take(&client{conn, bufio.NewReaderSize(conn, gulp)}, greedBulk(kind, addr), &got) }()
	tick := time.NewTicker(tellBy)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case err := <-over:
			return err
		case now := <-tick.C:
			if n := got.Load(); n > 0 {
				if _, err := fmt.Fprintf(out, "%d %d\n", n, now.Sub(began)); err != nil {
					return err
				}
			}
		}
	}
}

// pull asks for the greatest answer again and again, and throws it away.
func pull(c *client, request []byte, got *atomic.Int64) error {
	for {
		if err := c.send(request); err != nil {
			return err
		}
		left, _, err := c.head()
		if err != nil {
			return err
		}
		if left <= 0 {
			return fmt.Errorf("an answer of %d bytes is not worth the greed", left)
		}
		for left > 0 {
			if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			n, err := c.r.Discard(int(min(left, gulp)))
			got.Add(int64(n))
			if err != nil {
				return err
			}
			left -= int64(n)
		}
	}
}

// pour never lets the requests in flight run out. request is refill of them.
func pour(c *client, request []byte, got *atomic.Int64) error {
	for range flight/refill - 1 {
		if err := c.send(request); err != nil {
			return err
		}
	}
	for {
		if err := c.send(request); err != nil {
			return err
		}
		for range refill {
			if err := c.answer(); err != nil {
				return err
			}
			got.Add(1)
		}
	}
}
