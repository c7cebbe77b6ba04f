package requestlimits

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// Config is the request_limits section of a route.
type Config struct {
	Body             int64    `yaml:"body" unit:"bytes" min:"0" doc:"the largest body, chunked ones included, which are counted while they pass; 413 beyond. 0 is unlimited, but for the listener's own limits.body_bytes" example:"1MiB"`
	ContentTypes     []string `yaml:"content_types" listify:"true" doc:"media types a body may have: application/json, text/*, application/*+json; 415 for others and for a body that does not say. Without it any" example:"[application/json]"`
	ContentEncodings []string `yaml:"content_encodings" listify:"true" doc:"codings a body may be in, as gzip; identity alone lets only bodies without one pass; 415 for others. Without it any"`
	LengthRequired   bool     `yaml:"length_required" doc:"411 for a body that does not say its length beforehand"`
	Query            int64    `yaml:"query" unit:"bytes" min:"0" doc:"the longest query; 414 beyond. 0 is as long as the listener takes"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("request_limits", "bounds size, type and coding of request bodies", build)
}

// Filter checks requests.
type Filter struct {
	Config
	types  content.Types
	accept string
}

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{Config: *c, accept: strings.Join(c.ContentTypes, ", ")}
	var at int
	var err error
	if f.types, at, err = content.ParseTypes(c.ContentTypes); err != nil {
		return nil, filter.Errorf(fmt.Sprintf("content_types[%d]", at), "%v", err)
	}
	for i, coding := range c.ContentEncodings {
		if !content.IsToken(coding) {
			return nil, filter.Errorf(fmt.Sprintf("content_encodings[%d]", i), "found %q, want a coding like gzip, or identity for none", coding)
		}
	}
	if c.Body < 0 || c.Query < 0 {
		return nil, filter.Errorf("body", "found a negative size, want 0 or more")
	}
	if c.Body == 0 && c.Query == 0 && !c.LengthRequired && f.types.Empty() && len(c.ContentEncodings) == 0 {
		return nil, filter.Errorf("", "nothing is limited: want at least one of body, content_types, content_encodings, length_required and query")
	}
	return f, nil
}

// OnRequest refuses what can be told from the head, and counts the rest.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	r := &x.Request
	if f.Query > 0 && int64(len(r.Query)) > f.Query {
		return filter.Refuse(fault(http.StatusRequestURITooLong, "query-too-long", "Query is too long", fmt.Sprintf("at most %d bytes are taken", f.Query)))
	}
	if r.Body == nil || r.Length == 0 {
		return filter.Next
	}
	switch {
	case f.LengthRequired && r.Length < 0:
		return filter.Refuse(fault(http.StatusLengthRequired, "length-required", "Length required", "the body must come with its Content-Length"))
	case f.Body > 0 && r.Length > f.Body:
		return filter.Refuse(f.tooLarge())
	case !f.types.Empty() && !f.typed(&r.Header):
		refused := fault(http.StatusUnsupportedMediaType, "type-refused", "Media type not taken", "a body must be "+f.accept)
		refused.Header = []exchange.Field{{Name: "Accept", Value: f.accept}} // RFC 9110 section 15.5.16
		return filter.Refuse(refused)
	case len(f.ContentEncodings) > 0 && !f.coded(&r.Header):
		list := strings.Join(f.ContentEncodings, ", ")
		refused := fault(http.StatusUnsupportedMediaType, "coding-refused", "Content coding not taken", "a body must be in one of: "+list)
		refused.Header = []exchange.Field{{Name: "Accept-Encoding", Value: list}}
		return filter.Refuse(refused)
	}
	if f.Body > 0 && r.Length < 0 {
		r.Body = &counted{ReadCloser: r.Body, f: f, left: f.Body}
	}
	return filter.Next
}

// typed: several lines leave open which one the service reads.
func (f *Filter) typed(h *exchange.Fields) bool {
	return h.Count("Content-Type") == 1 && f.types.Has(h.Get("Content-Type"))
}

// coded reports whether every coding is on the list; nothing is identity.
func (f *Filter) coded(h *exchange.Fields) bool {
	for i := range h.Len() {
		line := h.At(i)
		if !exchange.EqualFold(line.Name, "Content-Encoding") {
			continue
		}
		for coding := range strings.SplitSeq(line.Value, ",") {
			coding = exchange.Trim(coding)
			if coding == "" || exchange.EqualFold(coding, "identity") {
				continue
			}
			if !slices.ContainsFunc(f.ContentEncodings, func(c string) bool { return exchange.EqualFold(c, coding) }) {
				return false
			}
		}
	}
	return true
}

func (f *Filter) tooLarge() *exchange.Fault {
	refused := fault(http.StatusRequestEntityTooLarge, "body-too-large", "Request body is too large", fmt.Sprintf("at most %d bytes are taken", f.Body))
	refused.Close = true // the rest of it is not wanted
	return refused
}

func fault(status int, code, title, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: status, Code: code, Title: title, Detail: detail}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var parts []string
	if f.Body > 0 {
		parts = append(parts, fmt.Sprintf("bodies up to %d bytes", f.Body))
	}
	if f.accept != "" {
		parts = append(parts, "of "+f.accept)
	}
	if len(f.ContentEncodings) > 0 {
		parts = append(parts, "in "+strings.Join(f.ContentEncodings, ", "))
	}
	if f.LengthRequired {
		parts = append(parts, "with their length")
	}
	if f.Query > 0 {
		parts = append(parts, fmt.Sprintf("queries up to %d bytes", f.Query))
	}
	return strings.Join(parts, ", ")
}
