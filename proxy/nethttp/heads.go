package nethttp

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"

	"lintel.dev/lintel/proxy/exchange"
)

// headCopy keeps the heads of an HTTP/1 answer as they come. net/http takes off
// a Connection field that says close, and with it what other fields it names as
// the connection's own.
type headCopy struct {
	net.Conn

	mu   sync.Mutex
	want bool
	b    []byte
}

// headsMost bounds it: a head is no larger by default.
const headsMost = 64 << 10

func copyHeads(ctx context.Context, c net.Conn) net.Conn {
	s, ok := ctx.Value(slotKey{}).(*slot)
	if !ok {
		return c
	}
	s.heads = &headCopy{Conn: c}
	return s.heads
}

// begin is called before a request.
func (c *headCopy) begin() {
	c.mu.Lock()
	c.want, c.b = true, c.b[:0]
	c.mu.Unlock()
}

func (c *headCopy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	if c.want && len(c.b) < headsMost {
		c.b = append(c.b, p[:n]...)
	}
	c.mu.Unlock()
	return n, err
}

// CloseWrite ends our half of the stream; tunnels need it.
func (c *headCopy) CloseWrite() error { return closeWrite(c.Conn) }

// connection is the final head's Connection field. Nothing more is kept then.
func (c *headCopy) connection() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = false
	rest := string(bytes.ReplaceAll(c.b, []byte("\r\n"), []byte("\n")))
	if cap(c.b) > copyBuffer {
		c.b = nil
	}
	for {
		head, more, whole := strings.Cut(rest, "\n\n")
		if _, status, _ := strings.Cut(head, " "); whole && strings.HasPrefix(status, "1") && !strings.HasPrefix(status, "101") {
			rest = more
			continue
		}
		var all []string
		for line := range strings.SplitSeq(head, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && exchange.EqualFold(name, "Connection") {
				all = append(all, exchange.Trim(value))
			}
		}
		return strings.Join(all, ", ")
	}
}
