package http1

import (
	"fmt"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/smuggling"
)

// taken is what the codec makes of all that one client sends.
type taken struct {
	requests []smuggling.Request
	refused  int  // the status, 0 if nothing was refused
	body     bool // it was the last request's body
	waits    bool // it ends within a message
}

// takeAll reads in as a connection would, with step bytes of a body at a time.
func takeAll(in []byte, step int) (t taken) {
	var r exchange.Request
	for {
		in = in[skipEmptyLine(in):]
		if len(in) == 0 {
			return t
		}
		end, _, bad := headEnd(in, 0)
		switch {
		case bad:
			t.refused = 400
			return t
		case end == 0 && len(in) > someLimits.bytes:
			t.refused = 431
			return t
		case end == 0:
			t.waits = true
			return t
		}
		r.Header.Reset()
		r = exchange.Request{Header: r.Header}
		f, fault := parseRequest(in[:end], someLimits, &r)
		if fault != nil {
			t.refused = fault.Status
			return t
		}
		in = in[end:]
		q := smuggling.Request{Method: r.Method, Host: r.Authority, Target: r.Path}
		if r.Query != "" {
			q.Target += "?" + r.Query
		}
		var used int
		var done bool
		var err error
		q.Body, used, done, err = takeBody(in, f, step)
		t.requests = append(t.requests, q)
		switch {
		case err != nil:
			t.refused, t.body = 400, true
			return t
		case !done:
			t.waits = true
			return t
		case f.close:
			return t
		}
		in = in[used:]
	}
}

func takeBody(in []byte, f framing, step int) (body string, used int, done bool, err error) {
	if !f.chunked {
		n := int(min(f.length, int64(len(in))))
		return string(in[:n]), n, int64(n) == f.length, nil
	}
	body, rest, done, err := dechunk(string(in), step, step)
	if !done || err != nil {
		return body, 0, false, err
	}
	var trailer exchange.Fields
	n, done, err := parseTrailer([]byte(rest), someLimits, &trailer)
	for name := range trailer.All() {
		if !exchange.MayTrail(name) {
			return body, 0, false, fmt.Errorf("the trailer %q is let through", name)
		}
	}
	return body, len(in) - len(rest) + n, done, err
}

// Every case has one outcome, the one it names: what is accepted ends where it
// says, and what is in it or after it is never taken for something else.
func TestSmuggling(t *testing.T) {
	for _, c := range smuggling.Cases() {
		for _, step := range []int{1, 7, 1 << 20} {
			got := takeAll([]byte(c.Bytes), step)
			want := taken{requests: c.Want, refused: c.Refuse, body: c.Body, waits: c.Waits}
			if c.Body && len(got.requests) == len(c.Want) && len(c.Want) > 0 {
				got.requests[len(c.Want)-1].Body = "" // how much of it was read before does not matter
			}
			if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
				t.Errorf("%s, by %d: %.200q\ngot  %.300s\nwant %.300s", c.Name, step, c.Bytes, g, w)
				break
			}
		}
	}
}
