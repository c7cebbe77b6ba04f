package jsonbody

import (
	"errors"
	"io"
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
)

var errLate = errors.New("jsonbody: the body did not arrive in time")

// read reads a body whole. One that is too large is not an error: doc is nil and
// rest gives all of it, what was read already included.
func (f *Filter) read(x *exchange.Exchange, body io.ReadCloser, length int64, late *exchange.Fault) (doc []byte, rest io.ReadCloser, fault *exchange.Fault) {
	if length > f.max {
		return nil, body, nil
	}
	size := length + 1 // one more finds the end without growing
	if length < 0 {
		size = min(f.max+1, 16<<10)
	}
	x.Expire(f.timeout, errLate)
	defer func() {
		if !x.Unexpire() && fault == nil { // just too late: the exchange is cancelled or about to be
			doc, rest, fault = nil, nil, late
		}
	}()
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(x.Ended(), errLate): // a client that sends little by little wakes us each time
			return nil, nil, broken(x, err, late)
		case int64(len(buf)) > f.max:
			return nil, &rejoined{head: buf, body: body, err: err}, nil
		case err == io.EOF:
			return buf, nil, nil
		case err != nil:
			return nil, nil, broken(x, err, late)
		}
	}
}

func broken(x *exchange.Exchange, err error, late *exchange.Fault) *exchange.Fault {
	var fault *exchange.Fault
	switch {
	case errors.Is(x.Ended(), errLate):
		late.Err = err
		return late
	case errors.As(err, &fault):
		return fault
	case late.Source == exchange.FromClient:
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
			Title: "Request body is incomplete", Close: true, Err: err}
	}
	return &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusBadGateway, Code: "answer-unreadable",
		Title: "Answer cannot be passed on", Detail: "service " + x.Service + ": its answer broke off", Proxy: "http_response_incomplete", Err: err}
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

// Ready implements what exchange.Ready asks.
func (r *rejoined) Ready() bool { return len(r.head) > 0 || r.err != nil || exchange.Ready(r.body) }
