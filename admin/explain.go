package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const maxExplainFields = 100

// explain runs a described request through the live table.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	if s.src.Explain == nil {
		absent(w, "explain")
		return
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		problem(w, http.StatusBadRequest, "bad-explain", "The query is not well formed: "+err.Error())
		return
	}
	req, err := readExplain(values)
	if err != nil {
		problem(w, http.StatusBadRequest, "bad-explain", err.Error())
		return
	}
	v, err := s.src.Explain(req)
	if err != nil {
		problem(w, http.StatusUnprocessableEntity, "explain-failed", err.Error())
		return
	}
	s.answer(w, r, http.StatusOK, v)
}

// readExplain checks what an engine would have checked of a real request.
func readExplain(v url.Values) (ExplainRequest, error) {
	req := ExplainRequest{Method: v.Get("method"), Scheme: v.Get("scheme"), Host: v.Get("host")}
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	if !httpguts.ValidHeaderFieldName(req.Method) { // both are tokens
		return req, fmt.Errorf("method is %q, it must be a token such as GET", req.Method)
	}
	switch req.Scheme {
	case "":
		req.Scheme = "https"
	case "http", "https":
	default:
		return req, fmt.Errorf("scheme is %q, it must be http or https", req.Scheme)
	}
	if req.Host == "" || !httpguts.ValidHostHeader(req.Host) {
		return req, fmt.Errorf("host is %q, it must be a host with an optional port", req.Host)
	}
	path := v.Get("path")
	if path == "" {
		path = "/"
	}
	req.Path, req.Query, _ = strings.Cut(path, "?")
	if !strings.HasPrefix(req.Path, "/") || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
		return req, fmt.Errorf("path is %q, it must begin with / and be escaped", path)
	}
	if len(v["header"]) > maxExplainFields {
		return req, fmt.Errorf("there are %d headers, at most %d are taken", len(v["header"]), maxExplainFields)
	}
	for i, line := range v["header"] {
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			// What was given may be a credential, so it is not repeated.
			return req, fmt.Errorf("header %d is not of the form Name:value", i+1)
		}
		req.Header = append(req.Header, Field{name, value})
	}
	return req, nil
}
