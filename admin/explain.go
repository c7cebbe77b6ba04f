package admin

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const (
	maxExplainFields = 100
	maxExplanation   = 4 << 20 // bytes: thousands of routes
)

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
	req, err := ReadExplain(values)
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

// ReadExplain reads the parameters of /explain, and checks what an engine would
// have checked of a real request.
func ReadExplain(v url.Values) (ExplainRequest, error) {
	req := ExplainRequest{Method: v.Get("method"), Scheme: v.Get("scheme"), Host: v.Get("host"), Listener: v.Get("listener"), Peer: v.Get("peer")}
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	if !httpguts.ValidHeaderFieldName(req.Method) { // both are tokens
		return req, fmt.Errorf("method is %q, it must be a token such as GET", req.Method)
	}
	switch req.Scheme {
	case "", "http", "https":
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
	if err := readBody(&req); err != nil {
		return req, err
	}
	return req, readClient(v, &req)
}

// readBody takes out of the header fields what an engine would not leave there: how
// the body is framed, which makes one up. It sees an upgrade and a gRPC call too.
func readBody(req *ExplainRequest) error {
	fields := req.Header[:0]
	upgrade, connection := "", ""
	length := int64(0)
	for _, f := range req.Header {
		switch strings.ToLower(f.Name) {
		case "content-length":
			n, err := strconv.ParseUint(f.Value, 10, 63)
			if err != nil {
				return fmt.Errorf("header Content-Length is %q, it must be a number of bytes", f.Value)
			}
			length = int64(n)
			continue
		case "transfer-encoding":
			if !strings.EqualFold(f.Value, "chunked") {
				return fmt.Errorf("header Transfer-Encoding is %q, only chunked is taken", f.Value)
			}
			req.Body = -1
			continue
		case "upgrade":
			upgrade = strings.ToLower(f.Value)
		case "connection":
			connection += "," + f.Value
		case "content-type":
			kind, _, _ := strings.Cut(strings.ToLower(f.Value), ";")
			req.GRPC = kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+")
		}
		fields = append(fields, f)
	}
	req.Header = fields
	switch {
	case req.Body < 0 && length > 0:
		return errors.New("headers Content-Length and Transfer-Encoding exclude each other")
	case req.Body == 0:
		req.Body = length
	}
	if req.GRPC && req.Body == 0 {
		req.Body = -1 // as clients send their calls
	}
	if upgrade != "" && req.Body == 0 && httpguts.HeaderValuesContainsToken([]string{connection}, "upgrade") {
		req.Upgrade = upgrade
	}
	return nil
}

// readClient reads who the connection comes from.
func readClient(v url.Values, req *ExplainRequest) (err error) {
	if ip := v.Get("client_ip"); ip != "" {
		if req.ClientIP, err = netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("client_ip is %q, it must be an IP address", ip)
		}
	}
	if req.Peer != "" && !strings.HasPrefix(req.Peer, "spiffe://") {
		return fmt.Errorf("peer is %q, it must be a SPIFFE ID as spiffe://example.org/svc/orders", req.Peer)
	}
	for rest := []byte(v.Get("client_cert")); len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" { // a key beside it is none of ours
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("client_cert: %w", err)
		}
		req.ClientCert = append(req.ClientCert, cert)
	}
	if v.Get("client_cert") != "" && req.ClientCert == nil {
		return errors.New("client_cert holds no PEM certificate")
	}
	return nil
}

// Explain asks /explain at addr (host:port of the API) and returns its JSON.
func Explain(ctx context.Context, addr string, v url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	resp, err := question(ctx, addr, http.MethodGet, "/explain?"+v.Encode(), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExplanation))
	if err != nil {
		return nil, fmt.Errorf("admin: %s: %w", addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail, Title string }
		if json.Unmarshal(body, &p) == nil && p.Detail+p.Title != "" {
			return nil, fmt.Errorf("admin: %s: %s", addr, cmp.Or(p.Detail, p.Title))
		}
		return nil, fmt.Errorf("admin: %s answered %s", addr, resp.Status)
	}
	return body, nil
}
