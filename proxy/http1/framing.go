package http1

import (
	"fmt"
	"math"

	"lintel.dev/lintel/proxy/exchange"
)

// framing is where a message ends (RFC 9112 section 6).
type framing struct {
	length     int64 // body bytes, 0 none, -1 unknown
	chunked    bool
	untilClose bool // an answer that ends with its connection
	close      bool // the connection must not be used after this message
	// connection is the message's Connection field, if it has further members
	// than an engine knows: fields of those names are not passed on.
	connection string
}

// Connection options that concern an engine.
const (
	optClose = 1 << iota
	optKeepAlive
	optUpgrade
	optOther
)

// control gathers the fields that decide about framing and the connection
// while a head's lines are read. Nothing of it may be said twice.
type control struct {
	length   int64 // of Content-Length
	options  uint8
	hasCL    bool
	hasTE    bool
	chunked  bool
	upgrades int
	upgrade  string
	named    string // the Connection field, if it names other fields
	bad      string // why the message has no framing, "" when it has
	unknown  bool   // bad because of a transfer coding that is merely not known
}

// take handles a field line that engines speak for. It reports whether the line
// is kept from the header: framing fields are never passed on but written anew.
func (c *control) take(name, value string) (own bool) {
	switch len(name) {
	case len("Upgrade"):
		if exchange.EqualFold(name, "Upgrade") {
			c.upgrades++
			c.upgrade = value
		}
	case len("Connection"):
		if exchange.EqualFold(name, "Connection") {
			options, ok := connectionOptions(value)
			if c.options |= options; !ok {
				c.refuse("the Connection field holds what is no token")
			}
			switch {
			case options&optOther == 0:
			case c.named == "":
				c.named = value
			default:
				c.named += "," + value
			}
		}
	case len("Content-Length"):
		if exchange.EqualFold(name, "Content-Length") {
			c.contentLength(value)
			return true
		}
		c.lookalike(name, "content-length")
	case len("Transfer-Encoding"):
		if exchange.EqualFold(name, "Transfer-Encoding") {
			c.transferEncoding(value)
			return true
		}
		c.lookalike(name, "transfer-encoding")
	}
	return false
}

func (c *control) refuse(why string) {
	if c.bad == "" {
		c.bad = why
	}
}

// lookalike refuses Content_Length and the like: there are services that read
// it as the field that it is not.
func (c *control) lookalike(name, field string) {
	if exchange.SameName(name, field) {
		c.refuse("a field name differs from " + field + " by its separator only")
	}
}

func (c *control) contentLength(value string) {
	if c.hasCL {
		c.refuse("there is more than one Content-Length")
		return
	}
	c.hasCL = true
	n, ok := parseLength(value)
	if !ok {
		c.refuse("Content-Length is not a decimal number of at most 19 digits")
		return
	}
	c.length = n
}

// parseLength reads 1*DIGIT below 2^63. Leading zeros mean nothing: what is
// sent on is written anew.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + uint64(d) // 19 digits fit in 64 bits
	}
	return int64(n), n <= math.MaxInt64
}

func (c *control) transferEncoding(value string) {
	if c.hasTE {
		c.unknown = false
		c.refuse("there is more than one Transfer-Encoding")
		return
	}
	c.hasTE = true
	if exchange.EqualFold(value, "chunked") {
		c.chunked = true
		return
	}
	if c.bad == "" {
		c.unknown = knownSyntax(value)
	}
	c.refuse("the only transfer coding taken is chunked")
}

// knownSyntax reports whether a Transfer-Encoding is well formed and merely not
// implemented, which is 501 (RFC 9112 section 6.1). "chunked" that is not last,
// is said twice or has parameters is malformed.
func knownSyntax(value string) bool {
	for more := true; more; {
		var coding string
		coding, value, more = nextMember(value)
		if !isToken(coding) || exchange.EqualFold(coding, "chunked") && more {
			return false
		}
	}
	return true
}

// settle says how a request or answer is framed, as far as that does not depend
// on which of the two it is. why is "" unless the message must be refused.
func (c *control) settle(http10 bool) (f framing, why string) {
	switch {
	case c.hasTE && c.hasCL:
		c.unknown = false
		why = "the message has both Content-Length and Transfer-Encoding"
	case c.hasTE && http10:
		c.unknown = false
		why = "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)"
	default:
		why = c.bad
	}
	f.length, f.chunked, f.connection = c.length, c.chunked, c.named
	if c.chunked {
		f.length = -1
	}
	f.close = c.options&optClose != 0 || http10 && c.options&optKeepAlive == 0 || why != ""
	return f, why
}

// connectionOptions reads one Connection line.
func connectionOptions(value string) (options uint8, ok bool) {
	for more := true; more; {
		var member string
		member, value, more = nextMember(value)
		switch {
		case exchange.EqualFold(member, "keep-alive"):
			options |= optKeepAlive
		case exchange.EqualFold(member, "close"):
			options |= optClose
		case exchange.EqualFold(member, "upgrade"):
			options |= optUpgrade
		case member != "" && !isToken(member):
			return options, false
		case member != "":
			options |= optOther
		}
	}
	return options, true
}

func tooManyFields(limit int) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: 431, Code: "too-many-fields",
		Title: "Too many header fields", Detail: fmt.Sprintf("at most %d header field lines are taken", limit), Close: true}
}

// answerTooLarge is for an answer's head that is larger than limit bytes, or
// would be once it is complete.
func answerTooLarge(limit int) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: 502, Code: "answer-head-too-large",
		Title: "Service's answer has too large a head", Detail: fmt.Sprintf("at most %d bytes are taken", limit),
		Proxy: "http_response_header_section_size"}
}

// badAnswer is for an answer that is not HTTP/1 as it should be.
func badAnswer(detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: 502, Code: "bad-answer",
		Title: "Service gave an invalid answer", Detail: detail, Proxy: "http_protocol_error"}
}
