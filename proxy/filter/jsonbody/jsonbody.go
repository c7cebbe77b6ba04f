package jsonbody

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// Filter edits bodies.
type Filter struct {
	request, response *edits // nil: as they are
	max               int64
	timeout           time.Duration
	pass              bool
}

// heavy is from how many bytes on a document is edited off the event loop.
const heavy = 8 << 10

// OnRequest edits the request's body.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	h := &r.Header
	if f.response != nil {
		// What the service encodes or sends in parts could not be edited.
		h.Del("Accept-Encoding")
		h.Del("Range")
		h.Del("If-Range")
	}
	if f.request == nil || r.Body == nil || r.Length == 0 || r.Upgrade != "" || !content.IsJSON(h.Get("Content-Type")) {
		return filter.Next
	}
	if content.Encoded(h) {
		return f.unless(&exchange.Fault{Source: exchange.FromClient, Status: http.StatusUnsupportedMediaType, Code: "coding-refused",
			Title: "Content coding not taken", Detail: "JSON is taken here without a content coding", Header: []exchange.Field{{Name: "Accept-Encoding", Value: "identity"}}})
	}
	doc, rest, err := content.ReadRequest(x, f.max, f.timeout)
	if err != nil {
		fault := content.Unread(err, f.max, f.timeout)
		if err != content.ErrTooLarge {
			return filter.Refuse(fault)
		}
		r.Body = rest
		return f.unless(fault)
	}
	_ = r.Body.Close()
	out, err := f.edit(x, f.request, doc)
	if errors.Is(err, errMalformed) {
		r.Body, r.Length = exchange.NewBody(doc), int64(len(doc))
		return f.unless(&exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-json",
			Title: "Request body is malformed", Detail: "the body is not well-formed JSON"})
	}
	if err != nil {
		return filter.Refuse(gone(err))
	}
	r.Body, r.Length = exchange.NewBody(out), int64(len(out))
	content.DropRequestDigests(h)
	return filter.Next
}

// unless refuses, or lets pass what is not edited.
func (f *Filter) unless(fault *exchange.Fault) filter.Verdict {
	if f.pass {
		return filter.Next
	}
	return filter.Refuse(fault)
}

// OnResponse edits the answer's body, but for what was made here because of a
// fault.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	r := &x.Response
	h := &r.Header
	if f.response == nil || x.Fault != nil || r.Tunnel != nil || r.Status < 200 {
		return
	}
	switch {
	case r.Status == http.StatusNotModified:
		content.WeakenConfirmed(x)
		return
	case r.Status == http.StatusNoContent, !content.IsJSON(h.Get("Content-Type")):
		return
	case content.Encoded(h), r.Status == http.StatusPartialContent, h.Has("Content-Range"):
		f.instead(x, "its answer is encoded or a part, and cannot be edited")
		return
	case x.Request.Method == http.MethodHead:
		r.Length = -1
		f.changed(x)
		return
	case r.Body == nil:
		return
	}
	doc, rest, err := content.ReadAnswer(x, f.max, f.timeout)
	switch {
	case err == content.ErrLate:
		x.Fault = &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusGatewayTimeout, Code: "timeout",
			Title: "Service did not answer in time", Detail: "its answer did not arrive within " + f.timeout.String(), Proxy: "http_response_timeout", Err: err}
		return
	case err == content.ErrTooLarge:
		r.Body = rest
		f.instead(x, fmt.Sprintf("its answer is larger than the %d bytes that are edited", f.max))
		return
	case err != nil:
		x.Fault = unreadable(x, "its answer broke off")
		x.Fault.Err = err
		return
	}
	_ = r.Body.Close()
	out, err := f.edit(x, f.response, doc)
	if err != nil {
		r.Body, r.Length = exchange.NewBody(doc), int64(len(doc))
		if !errors.Is(err, errMalformed) {
			x.Fault = gone(err)
			return
		}
		f.instead(x, "its answer says it is JSON and is not well-formed")
		return
	}
	r.Body, r.Length = exchange.NewBody(out), int64(len(out))
	f.changed(x)
}

// instead puts a fault in place of an answer that cannot be edited: it may hold
// just what must not get out.
func (f *Filter) instead(x *exchange.Exchange, why string) {
	if !f.pass {
		x.Fault = unreadable(x, why)
	}
}

func unreadable(x *exchange.Exchange, why string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusBadGateway, Code: "answer-unreadable",
		Title: "Answer cannot be passed on", Detail: "service " + x.Service + ": " + why, Proxy: "http_response_incomplete"}
}

func (f *Filter) changed(x *exchange.Exchange) {
	content.Changed(x)
	if f.response.personal {
		x.Response.Header.Del("ETag") // the same for everybody, and the answer is not
	}
}

func gone(err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone", Title: "Client went away", Close: true, Err: err}
}

// edit makes the edits, elsewhere if there is much to do.
func (f *Filter) edit(x *exchange.Exchange, e *edits, doc []byte) (out []byte, err error) {
	p := e.prepare(x)
	if len(doc) <= heavy {
		return p.apply(doc)
	}
	err = x.Await(func(context.Context) (err error) {
		out, err = p.apply(doc)
		return err
	})
	return out, err
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var parts []string
	if f.request != nil {
		parts = append(parts, "request: "+f.request.about)
	}
	if f.response != nil {
		parts = append(parts, "response: "+f.response.about)
	}
	parts = append(parts, fmt.Sprintf("up to %d bytes", f.max))
	return strings.Join(parts, "; ")
}
