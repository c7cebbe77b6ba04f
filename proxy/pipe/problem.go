package pipe

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Problem is a problem+json body (RFC 9457) with the ids that a support
// request needs.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      string `json:"code"`
	RequestID string `json:"request_id,omitempty"`
	TraceID   string `json:"trace_id,omitempty"`
	Txn       string `json:"txn,omitempty"`

	Errors []exchange.Flaw `json:"errors,omitempty"`
}

// answer turns a fault into the response.
func answer(x *exchange.Exchange, f *exchange.Fault) {
	x.Fault = f
	if x.IsGRPC() {
		answerGRPC(x, f)
	} else {
		answerProblem(x, f)
	}
	h := &x.Response.Header
	for _, field := range f.Header {
		h.Add(field.Name, field.Value)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.RetryAfter))
	}
	if f.Proxy != "" {
		h.Set("Proxy-Status", "lintel; error="+f.Proxy)
	}
	h.Set("Cache-Control", "no-store")
}

func answerProblem(x *exchange.Exchange, f *exchange.Fault) {
	p := Problem{Type: "about:blank", Title: f.Title, Status: f.Status, Detail: f.Detail, Code: f.Code, RequestID: x.ID, Errors: f.Errors}
	if x.Trace.Valid() {
		p.TraceID = hex.EncodeToString(x.Trace.ID[:])
	}
	if x.Txn != nil {
		p.Txn = x.Txn.ID
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers always marshal
		body = []byte(`{"type":"about:blank"}`)
	}
	x.Answer(f.Status, "application/problem+json", append(body, '\n'))
}

// answerGRPC is a trailers-only answer: gRPC callers read grpc-status, and
// HTTP status 200 goes with it.
func answerGRPC(x *exchange.Exchange, f *exchange.Fault) {
	x.Answer(http.StatusOK, "application/grpc", nil)
	msg := f.Title
	if f.Detail != "" {
		msg += ": " + f.Detail
	}
	x.Response.Header.Set("Grpc-Status", strconv.Itoa(grpcStatus(f)))
	x.Response.Header.Set("Grpc-Message", grpcMessage(msg))
}

// grpcStatus follows gRPC's own mapping from HTTP status codes, finer where
// the fault says more.
func grpcStatus(f *exchange.Fault) int {
	switch {
	case f.Code == "timeout":
		return 4 // DEADLINE_EXCEEDED
	case f.Code == "client-gone":
		return 1 // CANCELLED
	}
	switch f.Status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return 12 // UNIMPLEMENTED
	case http.StatusRequestEntityTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusTooManyRequests:
		return 8
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// grpcMessage percent-encodes as the gRPC over HTTP/2 specification asks.
func grpcMessage(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
