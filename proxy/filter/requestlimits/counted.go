package requestlimits

import (
	"io"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// counted is a body of unknown length on its way to the service. It ends with a
// fault where it grows too large, so the service never sees its end.
type counted struct {
	io.ReadCloser
	f    *Filter
	left int64
	err  error
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	// One byte beyond the limit tells an exact fit from too much.
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.ReadCloser.Read(p)
	if int64(n) > c.left {
		c.err = c.f.tooLarge()
		n, c.left = int(c.left), 0
		return n, c.err
	}
	c.left -= int64(n)
	return n, err
}

// Ready implements what exchange.Ready asks.
func (c *counted) Ready() bool { return exchange.Ready(c.ReadCloser) }

// Whole implements what exchange.Whole asks.
func (c *counted) Whole() bool { return exchange.Whole(c.ReadCloser) }

// Within implements what exchange.Within asks.
func (c *counted) Within(d time.Duration) { exchange.Within(c.ReadCloser, d) }
