package errorpages

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/content"
)

// Filter shows errors.
type Filter struct {
	pages                  map[string]*page
	service4xx, service5xx bool
	about                  string
}

// OnResponse gives an error the form that the client likes best.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	r := &x.Response
	if r.Status < 400 || r.Tunnel != nil || x.IsGRPC() {
		return
	}
	ours := x.Fault != nil
	if !ours && !(r.Status >= 500 && f.service5xx || r.Status < 500 && f.service4xx) {
		return
	}
	content.Vary(&r.Header, "Accept")
	html := wantsHTML(&x.Request.Header)
	if !html && ours {
		return // it is problem details already
	}
	what := f.describe(x)
	body, contentType := []byte(nil), "text/html; charset=utf-8"
	if html {
		var err error
		if body, err = f.page(r.Status).render(what); err != nil {
			html = false
		}
	}
	if !html {
		if ours {
			return
		}
		body, contentType = what.problem(), "application/problem+json"
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	r.Header.Filter(func(name, _ string) bool { return !ofContent(name) })
	r.Trailer.Reset()
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Cache-Control", "no-store")
	r.Body, r.Length = exchange.NewBody(body), int64(len(body))
}

// wantsHTML reports whether the client names HTML and likes it better than JSON,
// as browsers do when they go to a page. Who takes anything gets problem details.
func wantsHTML(h *exchange.Fields) bool {
	html, named := content.MediaWeight(h, "text", "html")
	if named < 2 || html == 0 {
		return false
	}
	for _, sub := range [...]string{"problem+json", "json"} {
		if w, how := content.MediaWeight(h, "application", sub); w > html || w == html && how == 3 {
			return false
		}
	}
	return true
}

func (f *Filter) page(status int) *page {
	if p := f.pages[strconv.Itoa(status)]; p != nil {
		return p
	}
	class := "4xx"
	if status >= 500 {
		class = "5xx"
	}
	if p := f.pages[class]; p != nil {
		return p
	}
	return f.pages["default"]
}

func (f *Filter) describe(x *exchange.Exchange) *fields {
	out := &fields{Status: x.Response.Status, Title: http.StatusText(x.Response.Status), RequestID: x.ID}
	if x.Trace.Valid() {
		out.TraceID = hex.EncodeToString(x.Trace.ID[:])
	}
	if fault := x.Fault; fault != nil {
		out.Title, out.Detail, out.Code = fault.Title, fault.Detail, fault.Code
	}
	if out.Title == "" {
		out.Title = "Error"
	}
	if s := x.Response.Header.Get("Retry-After"); s != "" {
		if n, err := strconv.ParseUint(s, 10, 31); err == nil {
			out.RetryAfter = strconv.FormatUint(n, 10)
		}
	}
	return out
}

// problem is for the service's own errors; those of Lintel have more to say.
func (f *fields) problem() []byte {
	b, err := json.Marshal(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		RequestID string `json:"request_id,omitempty"`
		TraceID   string `json:"trace_id,omitempty"`
	}{"about:blank", f.Title, f.Status, f.RequestID, f.TraceID})
	if err != nil { // strings and numbers always marshal
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// ofContent reports fields that describe the content that is replaced.
func ofContent(name string) bool {
	switch len(name) {
	case 4:
		return exchange.EqualFold(name, "ETag")
	case 6:
		return exchange.EqualFold(name, "Digest")
	case 7:
		return exchange.EqualFold(name, "Trailer")
	case 11:
		return exchange.EqualFold(name, "Repr-Digest") || exchange.EqualFold(name, "Content-MD5")
	case 13:
		return exchange.EqualFold(name, "Last-Modified") || exchange.EqualFold(name, "Accept-Ranges") || exchange.EqualFold(name, "Content-Range")
	}
	const family = "Content-"
	return len(name) > len(family) && exchange.EqualFold(name[:len(family)], family) && !exchange.EqualFold(name, "Content-Security-Policy") &&
		!exchange.EqualFold(name, "Content-Security-Policy-Report-Only")
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
