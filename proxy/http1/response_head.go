package http1

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// parseResponse reads the complete head of an answer to a request with method.
// It is as strict as parseRequest: an answer that two readers could frame
// differently would let one service speak for another on a shared connection.
func parseResponse(head []byte, lim limits, method string, r *exchange.Response) (framing, *exchange.Fault) {
	if lim.bytes > 0 && len(head) > lim.bytes {
		return framing{close: true}, answerTooLarge(lim.bytes)
	}
	s := view(head)
	at, bad := statusLine(head, s, r)
	if bad != "" {
		return framing{close: true}, badAnswer(bad)
	}
	var c control
	for lines := 1; at+2 < len(head); lines++ {
		name, value, next, bad := fieldLine(head, s, at)
		if bad != "" {
			return framing{close: true}, badAnswer(bad)
		}
		if lim.count > 0 && lines > lim.count {
			return framing{close: true}, answerTooManyFields(lim.count)
		}
		at = next
		switch len(name) {
		case len("Connection"), len("Content-Length"), len("Transfer-Encoding"):
			if c.take(name, value) {
				continue
			}
		}
		r.Header.Add(name, value)
	}
	f, bad := c.settle(r.Proto == "HTTP/1.0")
	if bad == "" {
		bad = c.answerFraming(&f, method, r)
	}
	if bad != "" {
		return framing{close: true}, badAnswer(bad)
	}
	return f, nil
}

// statusLine reads the first line and returns where the next begins.
func statusLine(head []byte, s string, r *exchange.Response) (next int, bad string) {
	const shortest = len("HTTP/1.1 200\r\n")
	if len(s) < shortest || !strings.HasPrefix(s, "HTTP/1.") || s[7]&^1 != '0' || s[8] != ' ' {
		return 0, "it does not begin with the status line of HTTP/1.1 or HTTP/1.0"
	}
	status := 0
	for _, c := range head[9:12] {
		if c < '0' || c > '9' {
			return 0, "its status is no number of three digits"
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 || status > 599 {
		return 0, "its status is not between 100 and 599"
	}
	i := 12
	if head[i] == ' ' { // many leave it out when there is no phrase
		i++
		for {
			i = controlByte(head, i)
			if i >= len(head) || head[i] != '\t' {
				break
			}
			i++
		}
	}
	if i+1 >= len(head) || head[i] != '\r' || head[i+1] != '\n' {
		return 0, "its status line holds a control byte or does not end with CRLF"
	}
	r.Proto, r.Status = s[:8], status
	return i + 2, ""
}

// answerFraming applies RFC 9112 section 6.3 and fills r.Length.
func (c *control) answerFraming(f *framing, method string, r *exchange.Response) (bad string) {
	stated := c.hasTE || c.length > 0
	switch {
	case r.Status < 200:
		if stated {
			// Whoever sends it may mean a body, and that would be read as the
			// next head.
			return "an interim answer has a body"
		}
		f.length, r.Length = 0, 0
	case method == "HEAD":
		r.Length = -1
		if c.hasCL {
			r.Length = c.length
		}
		f.length, f.chunked = 0, false
	case r.Status == 204 || r.Status == 304:
		// A 204 that states a body may be followed by one all the same.
		f.close = f.close || r.Status == 204 && stated
		f.length, f.chunked, r.Length = 0, false, 0
	case c.hasTE || c.hasCL:
		r.Length = f.length
	default:
		f.length, f.untilClose, f.close, r.Length = -1, true, true, -1
	}
	return ""
}

func answerTooManyFields(limit int) *exchange.Fault {
	f := answerTooLarge(limit)
	f.Detail = "it has too many field lines"
	return f
}
