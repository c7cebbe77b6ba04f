package http1

import (
	"crypto/tls"
	"errors"

	"lintel.dev/lintel/proxy/exchange"
)

// speaksPlain reports whether a handshake failed because the client speaks HTTP
// without TLS: its first bytes are a request's and not a record's, and nothing
// has been answered yet.
func speaksPlain(err error) bool {
	var no tls.RecordHeaderError
	return errors.As(err, &no) && no.Conn != nil && requestLike(no.RecordHeader)
}

// requestLike reports how a request line begins: a method in capitals, a space
// perhaps and the beginning of a target.
func requestLike(b [5]byte) bool {
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
		case i >= 3 && (c == ' ' || b[i-1] == ' ' && (c == '/' || c == '*' || c == 'h')):
		default:
			return false
		}
	}
	return true
}

// plainly gives up TLS for the answer that says that it is spoken here. What the
// client has sent is not looked at: no request without TLS reaches a filter.
func (c *conn) plainly() {
	c.tls.wire.empty()
	c.nc, c.tls = c.raw, nil
	c.plain = &exchange.Fault{Source: exchange.FromClient, Status: 400, Code: "tls-expected", Title: "This port speaks TLS",
		Detail: "the request came without TLS: ask by https", Close: true}
}
