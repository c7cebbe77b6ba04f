package http1

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"lintel.dev/lintel/proxy/exchange"
)

// What is written is checked once more: filters may have set anything, and a
// line break in a value would begin another message. Names and values that came
// from the wire pass the same check; it costs a few nanoseconds a line.

// appendRequest appends the request line and the header section as f frames the
// message. Host, Connection and the framing fields are written here and nowhere
// else.
func appendRequest(dst []byte, r *exchange.Request, f framing) ([]byte, error) {
	path := r.Path
	if path == "" {
		path = "/"
	}
	if !isToken(r.Method) || path[0] != '/' && path != "*" || !isTarget(r.Path) || !isTarget(r.Query) || !isValue(r.Authority) {
		return dst, fmt.Errorf("http1: the request line cannot be written: method %.40q, path %.40q, query %.40q, authority %.40q",
			r.Method, r.Path, r.Query, r.Authority)
	}
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	dst = append(dst, path...)
	if r.Query != "" {
		dst = append(dst, '?')
		dst = append(dst, r.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Authority...)
	dst = append(dst, "\r\n"...)
	te := false
	for i := range r.Header.Len() {
		l := r.Header.At(i)
		switch kind := classify(l.Name); kind {
		case ours, upgradeField:
			continue
		case trailerField:
			if !f.chunked || !validTrailer(l.Value) {
				continue
			}
		case expectField:
			if !r.Expect {
				continue
			}
		case teField:
			te = true
		}
		var ok bool
		if dst, ok = appendField(dst, l.Name, l.Value); !ok {
			return dst, badField(l)
		}
	}
	switch {
	case r.Upgrade != "" && !isValue(r.Upgrade):
		return dst, badField(exchange.Field{Name: "Upgrade", Value: r.Upgrade})
	case r.Upgrade != "":
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, r.Upgrade...)
		dst = append(dst, "\r\n"...)
	case te:
		dst = append(dst, "Connection: TE\r\n"...) // RFC 9110 section 10.1.4
	}
	switch {
	case f.chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case f.length > 0, r.Method == "POST", r.Method == "PUT", r.Method == "PATCH":
		dst = appendLength(dst, f.length) // also of no body where one is expected (RFC 9110 section 8.6)
	}
	return append(dst, "\r\n"...), nil
}

// responseOptions is how an answer is framed and what becomes of its connection.
type responseOptions struct {
	length    int64  // body bytes, -1 unknown
	chunked   bool   // wins over length
	bodyless  bool   // only the head is sent, whatever length says
	close     bool   // "Connection: close"
	keepAlive bool   // "Connection: keep-alive", for HTTP/1.0 clients
	date      []byte // used where the answer has no Date
}

// appendResponse appends the status line and the header section.
func appendResponse(dst []byte, r *exchange.Response, o responseOptions) ([]byte, error) {
	dst = appendStatus(dst, r.Status)
	switching := r.Status == http.StatusSwitchingProtocols
	dated := false
	for i := range r.Header.Len() {
		l := r.Header.At(i)
		switch classify(l.Name) {
		case ours:
			continue
		case upgradeField:
			if !switching {
				continue
			}
		case trailerField:
			if !o.chunked && !o.bodyless || !validTrailer(l.Value) {
				continue
			}
		case dateField:
			dated = true
		}
		var ok bool
		if dst, ok = appendField(dst, l.Name, l.Value); !ok {
			return dst, badField(l)
		}
	}
	if !dated && len(o.date) > 0 {
		dst = append(dst, "Date: "...)
		dst = append(dst, o.date...)
		dst = append(dst, "\r\n"...)
	}
	switch {
	case switching:
		return append(dst, "Connection: Upgrade\r\n\r\n"...), nil
	case r.Status == http.StatusNoContent, r.Status == http.StatusNotModified:
		// No length: a 204 must not say any, and a 304's would have to be the
		// representation's, which nobody here knows (RFC 9110 section 8.6).
	case o.chunked && !o.bodyless:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case o.length >= 0 && !o.chunked:
		dst = appendLength(dst, o.length)
	}
	switch {
	case o.close:
		dst = append(dst, "Connection: close\r\n"...)
	case o.keepAlive:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...), nil
}

// appendInterim appends a whole 1xx answer. Lines that cannot be written are
// left out: the final answer does not hang on them.
func appendInterim(dst []byte, status int, h *exchange.Fields) []byte {
	dst = appendStatus(dst, status)
	if h != nil {
		dst = appendSound(dst, h)
	}
	return append(dst, "\r\n"...)
}

// appendChunkHeader appends the line before n bytes of chunk data, after which
// comes CRLF.
func appendChunkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), "\r\n"...)
}

// appendLastChunk ends a chunked body. Trailer lines that cannot be written or
// must not be there are left out: it is too late to say anything else.
func appendLastChunk(dst []byte, t *exchange.Fields) []byte {
	if t == nil || t.Len() == 0 {
		return append(dst, "0\r\n\r\n"...)
	}
	dst = append(dst, "0\r\n"...)
	for i := range t.Len() {
		if l := t.At(i); exchange.MayTrail(l.Name) {
			dst, _ = appendField(dst, l.Name, l.Value)
		}
	}
	return append(dst, "\r\n"...)
}

func appendSound(dst []byte, h *exchange.Fields) []byte {
	for i := range h.Len() {
		l := h.At(i)
		if k := classify(l.Name); k != ours && k != upgradeField && k != trailerField {
			dst, _ = appendField(dst, l.Name, l.Value)
		}
	}
	return dst
}

// appendField appends one line, or nothing and false if it cannot be one. It is
// the hot part of writing: one growth and one copy a line.
func appendField(dst []byte, name, value string) ([]byte, bool) {
	if name == "" || !isValue(value) {
		return dst, false
	}
	n := len(dst)
	dst = slices.Grow(dst, len(name)+len(value)+len(": \r\n"))
	line := dst[n : n+len(name)+len(value)+len(": \r\n")]
	for i := range len(name) {
		c := name[i]
		if !isTokenByte[c] {
			return dst, false
		}
		line[i] = c
	}
	rest := line[len(name):]
	rest[0], rest[1] = ':', ' '
	rest = rest[2+copy(rest[2:], value):]
	rest[0], rest[1] = '\r', '\n'
	return dst[:n+len(line)], true
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	return append(strconv.AppendInt(dst, n, 10), "\r\n"...)
}

func badField(l exchange.Field) error {
	// Not the value: it may be a secret.
	return fmt.Errorf("http1: field %.60q cannot be written: its name is no token or its value holds a control byte", l.Name)
}

// isTarget reports whether s can be part of a request target.
func isTarget(s string) bool { return targetEnd(bytesOf(s), 0) == len(s) }

// kind tells fields that are written in a way of their own.
type kind uint8

const (
	plain kind = iota
	ours       // never copied from a header
	upgradeField
	trailerField
	expectField
	teField
	dateField
)

// classify is asked for every line that is written, hence by length first.
func classify(name string) kind {
	switch len(name) {
	case 2:
		if exchange.EqualFold(name, "TE") {
			return teField
		}
	case 4:
		if exchange.EqualFold(name, "Host") {
			return ours
		}
		if exchange.EqualFold(name, "Date") {
			return dateField
		}
	case 6:
		if exchange.EqualFold(name, "Expect") {
			return expectField
		}
	case 7:
		if exchange.EqualFold(name, "Upgrade") {
			return upgradeField
		}
		if exchange.EqualFold(name, "Trailer") {
			return trailerField
		}
	case 10:
		if exchange.EqualFold(name, "Connection") || exchange.EqualFold(name, "Keep-Alive") {
			return ours
		}
	case 14:
		if exchange.EqualFold(name, "Content-Length") {
			return ours
		}
	case 16:
		if exchange.EqualFold(name, "Proxy-Connection") {
			return ours
		}
	case 17:
		if exchange.EqualFold(name, "Transfer-Encoding") {
			return ours
		}
	}
	return plain
}

// statusLines are those with a standard phrase.
var statusLines = func() (t [600]string) {
	for status := 100; status < len(t); status++ {
		if phrase := http.StatusText(status); phrase != "" {
			t[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + phrase + "\r\n"
		}
	}
	return t
}()

func appendStatus(dst []byte, status int) []byte {
	if status >= 0 && status < len(statusLines) && statusLines[status] != "" {
		return append(dst, statusLines[status]...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, " \r\n"...)
}
