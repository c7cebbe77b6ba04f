package exchange

import (
	"io"
	"time"
)

// Bytes is a body held in memory; it can be read again after Rewind.
type Bytes struct {
	data []byte
	off  int
}

// NewBody returns a body that yields b.
func NewBody(b []byte) *Bytes { return &Bytes{data: b} }

// Read implements io.Reader.
func (b *Bytes) Read(p []byte) (int, error) {
	if b.off >= len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	return n, nil
}

// WriteTo implements io.WriterTo without an intermediate buffer.
func (b *Bytes) WriteTo(w io.Writer) (int64, error) {
	if b.off >= len(b.data) {
		return 0, nil
	}
	n, err := w.Write(b.data[b.off:])
	b.off += n
	return int64(n), err
}

// Rewind makes the body yield everything again.
func (b *Bytes) Rewind() { b.off = 0 }

// Len reports the bytes not yet read.
func (b *Bytes) Len() int { return len(b.data) - b.off }

// Close does nothing; the memory belongs to whoever made the body.
func (b *Bytes) Close() error { return nil }

// Ready reports whether reading body would yield something without waiting. A
// body that wraps another passes the question on; one that cannot tell is not
// ready.
func Ready(body io.Reader) bool {
	r, ok := body.(interface{ Ready() bool })
	return ok && r.Ready()
}

// Ready implements what exchange.Ready asks.
func (b *Bytes) Ready() bool { return true }

// Whole reports whether reading body to its end would not wait at all.
func Whole(body io.Reader) bool {
	w, ok := body.(interface{ Whole() bool })
	return ok && w.Whole()
}

// Whole implements what exchange.Whole asks.
func (b *Bytes) Whole() bool { return true }

// Within has reading a request body fail with a fault once d has passed, for who
// reads it before anything is forwarded; 0 takes that back. A body that wraps
// another passes it on; one that cannot wait, as in memory, needs no limit.
func Within(body io.Reader, d time.Duration) {
	if w, ok := body.(interface{ Within(time.Duration) }); ok {
		w.Within(d)
	}
}
