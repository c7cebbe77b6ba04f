package extauthz

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/store"
)

// The facts that the authorizer may be told, in the order they are sent, and the
// headers that carry them.
const (
	method = iota
	uri
	path
	host
	proto
	address
)

var (
	facts     = [...]string{method: "method", uri: "uri", path: "path", host: "host", proto: "proto", address: "address"}
	forwarded = [...]string{method: "X-Forwarded-Method", uri: "X-Forwarded-Uri", path: "X-Forwarded-Uri", host: "X-Forwarded-Host",
		proto: "X-Forwarded-Proto", address: "X-Forwarded-For"}
)

// fact is one of what the authorizer is told. The path is the one that was
// matched and will be forwarded: an authorizer that saw the client's own
// spelling could be made to judge another one.
func fact(x *exchange.Exchange, i int, room []byte) []byte {
	switch i {
	case method:
		return append(room, x.Request.Method...)
	case uri, path:
		room = append(room, x.Request.Path...)
		if i == uri && x.Request.Query != "" {
			room = append(append(room, '?'), x.Request.Query...)
		}
		return room
	case host:
		return append(room, x.Request.Authority...)
	case proto:
		return append(room, scheme(x)...)
	}
	if x.ClientIP.IsValid() {
		return x.ClientIP.AppendTo(room)
	}
	return append(room, "unknown"...) // RFC 7239 section 6.2: a unix socket has no address
}

// scheme is the client's: the connection's, unless that is a trusted proxy's,
// which is known from its having named the client.
func scheme(x *exchange.Exchange) string {
	if remote := x.Client.Remote.Addr(); x.ClientIP.IsValid() && x.ClientIP.WithZone("") != remote.Unmap().WithZone("") {
		first, _, _ := strings.Cut(x.Request.Header.Get("X-Forwarded-Proto"), ",")
		switch first = exchange.Trim(first); {
		case exchange.EqualFold(first, "https"):
			return "https"
		case exchange.EqualFold(first, "http"):
			return "http"
		}
	}
	return x.Request.Scheme
}

// identify hashes exactly what the authorizer will be told and given, each part
// framed by its length, so that no two questions are spelled alike.
func (f *Filter) identify(x *exchange.Exchange, body []byte) store.Question {
	var room [1024]byte
	key := room[:0]
	for i, told := range f.tell {
		if told {
			start := len(key)
			key = fact(x, i, append(key, byte(i), 0, 0, 0, 0))
			binary.BigEndian.PutUint32(key[start+1:], uint32(len(key)-start-5))
		}
	}
	if f.given != nil {
		for name, value := range x.Request.Header.All() {
			if f.given.Match(name) {
				key = appendPart(append(key, 'h'), name)
				key = appendPart(key, value)
			}
		}
	}
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		key = append(append(key, 'b'), sum[:]...)
		key = appendPart(key, x.Request.Header.Get("Content-Type"))
	}
	return sha256.Sum256(key)
}

func appendPart(key []byte, s string) []byte {
	key = binary.BigEndian.AppendUint32(key, uint32(len(s)))
	return append(key, s...)
}

// question is the same as a request, in copies: the transport may look at them
// after the exchange is over.
func (f *Filter) question(x *exchange.Exchange, body []byte) *ask.Question {
	q := &ask.Question{Method: http.MethodGet, URL: f.URL, Header: append([]exchange.Field(nil), f.fixed...)}
	for i, told := range f.tell {
		if told {
			q.Header = append(q.Header, exchange.Field{Name: forwarded[i], Value: string(fact(x, i, nil))})
		}
	}
	if f.given != nil {
		for name, value := range x.Request.Header.All() {
			if f.given.Match(name) {
				q.Header = append(q.Header, exchange.Field{Name: strings.Clone(name), Value: strings.Clone(value)})
			}
		}
	}
	if len(body) > 0 {
		q.Method, q.Body = http.MethodPost, body
		if t := x.Request.Header.Get("Content-Type"); t != "" && (f.given == nil || !f.given.Match("Content-Type")) {
			q.Header = append(q.Header, exchange.Field{Name: "Content-Type", Value: strings.Clone(t)})
		}
	}
	return q
}

// body reads the request's body, so far as it is to be shown, and puts it back.
func (f *Filter) body(x *exchange.Exchange) ([]byte, *exchange.Fault) {
	r := &x.Request
	if f.Body == 0 || r.Body == nil || r.Length == 0 {
		return nil, nil
	}
	if r.Length > f.Body {
		return nil, tooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, f.Body+1))
	if err != nil {
		var fault *exchange.Fault
		if errors.As(err, &fault) {
			return nil, fault
		}
		return nil, &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
			Title: "Request body is incomplete", Close: true, Err: err}
	}
	if int64(len(body)) > f.Body {
		return nil, tooLarge()
	}
	_ = r.Body.Close()
	r.Body = exchange.NewBody(body)
	if r.Trailer.Len() == 0 { // trailers need a body that is sent in chunks
		r.Length = int64(len(body))
	}
	return body, nil
}

func tooLarge() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestEntityTooLarge, Code: "body-too-large",
		Title: "Request body is too large", Detail: "the authorizer must see the whole body, and does not take one this large", Close: true}
}
