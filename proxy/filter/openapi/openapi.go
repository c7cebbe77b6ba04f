package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// OnRequest checks the request.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	fault := f.check(x)
	if fault == nil {
		return filter.Next
	}
	// What cannot be read cannot be forwarded either.
	if f.report && fault.Code != "upload-stalled" && fault.Code != "body-incomplete" && fault.Code != "client-gone" {
		if f.said.now(time.Now()) {
			f.log.Warn("openapi: a request would have been refused", "route", x.Route, "status", fault.Status, "code", fault.Code,
				"method", x.Request.Method, "flaws", where(fault.Errors), "request_id", x.ID)
		}
		return filter.Next
	}
	return filter.Refuse(fault)
}

// where lists places alone: values are not for the log.
func where(flaws []exchange.Flaw) string {
	var out []string
	for _, f := range flaws {
		out = append(out, strings.TrimRight(f.In+" "+f.Name+f.Pointer, " "))
	}
	return strings.Join(out, ", ")
}

// pace is once a second.
type pace struct{ last atomic.Int64 }

func (p *pace) now(t time.Time) bool {
	last := p.last.Load()
	return t.UnixNano()-last >= int64(time.Second) && p.last.CompareAndSwap(last, t.UnixNano())
}

func (f *Filter) check(x *exchange.Exchange) *exchange.Fault {
	r := &x.Request
	p, params := f.api.find(r.Path)
	if p == nil {
		if f.pass {
			return nil
		}
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusNotFound, Code: "not-in-api", Title: "No such operation", Detail: "the API has no such path"}
	}
	op := p.methods[r.Method]
	if op == nil {
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusMethodNotAllowed, Code: "method-not-allowed", Title: "Method not allowed",
			Detail: "this path takes " + p.allow, Header: []exchange.Field{{Name: "Allow", Value: p.allow}}}
	}
	body, skip, fault := f.body(x, op)
	if fault != nil {
		return fault
	}
	if op.body == nil && r.Body != nil && r.Length != 0 {
		return invalid([]exchange.Flaw{{In: "body", Detail: "the operation takes none"}})
	}
	in := f.input(x, op, params)
	in.body, in.skip = body, skip
	var flaws []exchange.Flaw
	err := x.Await(func(ctx context.Context) error {
		if len(in.body) == 0 {
			flaws = in.validate(ctx)
			return nil
		}
		return f.slots.do(ctx, f.wait, func() { flaws = in.validate(ctx) })
	})
	switch {
	case errors.Is(err, errBusy):
		return busy()
	case err != nil:
		return &exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone", Title: "Client went away", Close: true, Err: err}
	case len(flaws) > 0:
		return invalid(flaws)
	}
	return nil
}

// body reads a body that is to be checked. skip says that there is one that is
// not.
func (f *Filter) body(x *exchange.Exchange, op *operation) (whole []byte, skip bool, fault *exchange.Fault) {
	r := &x.Request
	if op.body == nil || r.Body == nil || r.Length == 0 {
		return nil, false, nil
	}
	if len(op.body.Content) == 0 {
		return nil, true, nil
	}
	if r.Header.Count("Content-Type") > 1 {
		return nil, false, unsupported("type-refused", "the body says more than one Content-Type", "Accept", op.types)
	}
	declared := op.body.Content.Get(r.Header.Get("Content-Type"))
	switch {
	case declared == nil:
		return nil, false, unsupported("type-refused", "a body must be "+op.types, "Accept", op.types)
	case declared.Schema == nil || raw(declared.Schema.Value):
		return nil, true, nil
	case content.Encoded(&r.Header):
		return nil, false, unsupported("coding-refused", "a body is taken without a content coding", "Accept-Encoding", "identity")
	}
	whole, rest, err := content.ReadRequest(x, f.max, f.timeout)
	if err != nil {
		if errors.Is(err, content.ErrTooLarge) {
			r.Body = rest
		}
		return nil, false, content.Unread(err, f.max, f.timeout)
	}
	_ = r.Body.Close()
	r.Body, r.Length = exchange.NewBody(whole), int64(len(whole))
	return whole, false, nil
}

// raw reports a schema that says nothing but that there are bytes.
func raw(s *openapi3.Schema) bool {
	return s != nil && s.Type.Is("string") && s.Format == "binary" && s.MaxLength == nil && s.MinLength == 0
}

func unsupported(code, detail, field, value string) *exchange.Fault {
	title := "Media type not taken"
	if field == "Accept-Encoding" {
		title = "Content coding not taken"
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusUnsupportedMediaType, Code: code, Title: title,
		Detail: detail, Header: []exchange.Field{{Name: field, Value: value}}}
}

// invalid says the first in detail and lists all.
func invalid(flaws []exchange.Flaw) *exchange.Fault {
	first := flaws[0]
	where := first.In
	if first.Name != "" {
		where += " parameter " + first.Name
	}
	if first.Pointer != "" {
		where += " at " + first.Pointer
	}
	detail := where + ": " + first.Detail
	if n := len(flaws) - 1; n > 0 {
		detail += fmt.Sprintf(" (and %d more)", n)
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "request-invalid",
		Title: "Request does not fit the API", Detail: detail, Errors: flaws}
}

// input copies what validation looks at, since it may run elsewhere.
func (f *Filter) input(x *exchange.Exchange, op *operation, params map[string]string) *input {
	in := &input{op: op, params: map[string]string{}, method: strings.Clone(x.Request.Method), path: strings.Clone(x.Request.Path),
		query: strings.Clone(x.Request.Query), header: http.Header{}, strict: f.strict, most: f.errors}
	for k, v := range params {
		in.params[k] = strings.Clone(v)
	}
	for name, value := range x.Request.Header.All() {
		key := http.CanonicalHeaderKey(strings.Clone(name))
		in.header[key] = append(in.header[key], strings.Clone(value))
	}
	return in
}
