package securityheaders

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

const hstsName = "Strict-Transport-Security"

// Filter adds fields to answers.
type Filter struct {
	lines               []exchange.Field
	hsts                string
	plaintext, override bool
}

// OnResponse adds what is not there, on every answer: an error page can be
// framed and sniffed like any other.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	if x.Response.Status == 101 {
		return
	}
	h := &x.Response.Header
	for i := range f.lines {
		f.put(h, f.lines[i].Name, f.lines[i].Value)
	}
	if f.hsts == "" {
		return
	}
	if x.Request.Scheme == "https" || f.plaintext {
		f.put(h, hstsName, f.hsts)
	}
}

func (f *Filter) put(h *exchange.Fields, name, value string) {
	switch {
	case f.override:
		h.Set(name, value)
	case !h.Has(name):
		h.Add(name, value)
	}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var names []string
	if f.hsts != "" {
		names = append(names, hstsName)
	}
	for _, l := range f.lines {
		names = append(names, l.Name)
	}
	s := strings.Join(names, ", ")
	if f.override {
		s += ", in place of the service's own"
	}
	return s
}
