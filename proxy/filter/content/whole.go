package content

import (
	"errors"
	"fmt"
	"io"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// What reading a body whole may end with, besides what the body itself fails
// with.
var (
	ErrTooLarge = errors.New("the body is too large")
	ErrLate     = errors.New("the body did not arrive in time")
)

// ReadRequest reads x's request body to its end, at most max bytes within limit.
// With ErrTooLarge, rest gives all of it, what was read already included.
func ReadRequest(x *exchange.Exchange, max int64, limit time.Duration) (whole []byte, rest io.ReadCloser, err error) {
	body := x.Request.Body
	exchange.Within(body, limit)
	defer exchange.Within(body, 0)
	return readWhole(body, x.Request.Length, max, time.Now().Add(limit))
}

// ReadAnswer does so with the body of x's answer.
func ReadAnswer(x *exchange.Exchange, max int64, limit time.Duration) (whole []byte, rest io.ReadCloser, err error) {
	x.Expire(limit, ErrLate)
	whole, rest, err = readWhole(x.Response.Body, x.Response.Length, max, time.Now().Add(limit))
	if !x.Unexpire() {
		return nil, nil, ErrLate // the exchange is cancelled or about to be
	}
	return whole, rest, err
}

func readWhole(body io.ReadCloser, length, max int64, until time.Time) (whole []byte, rest io.ReadCloser, err error) {
	if length > max {
		return nil, body, ErrTooLarge
	}
	size := length + 1 // one more finds the end without growing
	if length < 0 {
		size = min(max+1, 16<<10)
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, rerr := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > max:
			return nil, &rejoined{head: buf, body: body, err: rerr}, ErrTooLarge
		case rerr == io.EOF:
			return buf, nil, nil
		case rerr != nil:
			return nil, nil, rerr
		case time.Now().After(until): // who sends little by little wakes us each time
			return nil, nil, ErrLate
		}
	}
}

// rejoined is a body of which the beginning was read already.
type rejoined struct {
	head []byte
	body io.ReadCloser
	err  error // what came with the last of head
}

// Read implements io.Reader.
func (r *rejoined) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		if len(r.head) == 0 {
			return n, r.err
		}
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.body.Read(p)
}

// Close implements io.Closer.
func (r *rejoined) Close() error { return r.body.Close() }

// Within implements what exchange.Within asks.
func (r *rejoined) Within(d time.Duration) { exchange.Within(r.body, d) }

// Ready implements what exchange.Ready asks.
func (r *rejoined) Ready() bool { return len(r.head) > 0 || r.err != nil || exchange.Ready(r.body) }

// Unread is why a request's body could not be read whole, as a fault.
func Unread(err error, max int64, limit time.Duration) *exchange.Fault {
	var fault *exchange.Fault
	switch {
	case err == ErrTooLarge:
		return &exchange.Fault{Source: exchange.FromClient, Status: 413, Code: "body-too-large", Title: "Request body is too large",
			Detail: fmt.Sprintf("at most %d bytes are taken", max), Close: true}
	case err == ErrLate:
		return &exchange.Fault{Source: exchange.FromClient, Status: 408, Code: "upload-stalled", Title: "Request took too long",
			Detail: "the request body did not arrive within " + limit.String(), Close: true, Err: err}
	case errors.As(err, &fault):
		return fault
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: 400, Code: "body-incomplete",
		Title: "Request body is incomplete", Close: true, Err: err}
}
