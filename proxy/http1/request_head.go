package http1

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// maxMethod bounds a method's length; the longest registered has 17 bytes.
const maxMethod = 32

// parseRequest reads a complete head as headEnd found it. On a fault r holds
// what was understood until then, for observers; the connection must not be
// used again.
func parseRequest(head []byte, lim limits, r *exchange.Request) (framing, *exchange.Fault) {
	if lim.bytes > 0 && len(head) > lim.bytes {
		return framing{close: true}, headTooLarge(lim.bytes)
	}
	s := view(head)
	at, fault := requestLine(head, s, r)
	if fault != nil {
		return framing{close: true}, fault
	}
	h := requestFields{r: r, http10: r.Proto == "HTTP/1.0"}
	if fault = h.read(head, s, at, lim.count); fault != nil {
		return framing{close: true}, fault
	}
	f, fault := h.settle()
	if fault != nil {
		f.close = true
	}
	return f, fault
}

// requestLine reads the first line and returns where the next begins.
func requestLine(head []byte, s string, r *exchange.Request) (next int, _ *exchange.Fault) {
	i := 0
	for i < len(head) && isTokenByte[head[i]] {
		i++
	}
	r.Method = s[:i]
	if i == 0 || i > maxMethod || i >= len(head) || head[i] != ' ' {
		return 0, badRequest("bad-method", "the method is no token (RFC 9110 section 9.1)")
	}
	at := i + 1
	i = targetEnd(head, at)
	r.Target = s[at:i]
	if i == at || i >= len(head) || head[i] != ' ' {
		return 0, badTargetEnd(head, at, i)
	}
	rest := s[i+1:]
	switch {
	case strings.HasPrefix(rest, "HTTP/1.1\r\n"), strings.HasPrefix(rest, "HTTP/1.0\r\n"):
		r.Proto = rest[:8]
	default:
		splitTarget(r) // as well as can be, for observers
		return 0, badVersion(rest)
	}
	return i + 11, splitTarget(r)
}

func badTargetEnd(head []byte, at, i int) *exchange.Fault {
	switch {
	case i < len(head) && head[i] == '\r' && i > at:
		return badRequest("bad-version", "the request line names no HTTP version (RFC 9112 section 3)")
	case i == at:
		return badRequest("bad-target", "the request line has no target (RFC 9112 section 3)")
	}
	return badRequest("bad-target", "the request target holds a byte that must be percent-encoded (RFC 9112 section 3.2)")
}

// badVersion says 505 to what may be spoken elsewhere. That includes HTTP/1.2
// and the like, which RFC 9110 section 2.5 would have us read as 1.1: nobody
// sends it but to find out who along the way reads it otherwise.
func badVersion(rest string) *exchange.Fault {
	const like = "HTTP/d.d\r\n"
	well := len(rest) >= len(like)
	for i := 0; well && i < len(like); i++ {
		digit := rest[i] >= '0' && rest[i] <= '9'
		well = like[i] == 'd' && digit || like[i] != 'd' && rest[i] == like[i]
	}
	if !well {
		return badRequest("bad-version", "the request line does not end with an HTTP version (RFC 9112 section 2.3)")
	}
	return &exchange.Fault{Source: exchange.FromClient, Status: 505, Code: "bad-version", Title: "HTTP version is not served",
		Detail: rest[:8] + " was asked for; HTTP/1.1 and HTTP/1.0 are served here", Close: true}
}

// splitTarget takes the target apart (RFC 9112 section 3.2). An absolute-form's
// authority goes to r.Authority.
func splitTarget(r *exchange.Request) *exchange.Fault {
	t := r.Target
	switch {
	case r.Method == "CONNECT":
		r.Path = "/"
		return &exchange.Fault{Source: exchange.FromClient, Status: 405, Code: "connect-not-served",
			Title: "CONNECT is not served", Detail: "this proxy opens no tunnels by CONNECT", Close: true}
	case t[0] == '/':
		return splitPath(r, t)
	case t == "*":
		r.Path = "*"
		if r.Method != "OPTIONS" {
			return badRequest("bad-target", "the asterisk-form is for OPTIONS only (RFC 9112 section 3.2.4)")
		}
		return nil
	}
	i := strings.Index(t, "://")
	if i < 0 || !exchange.EqualFold(t[:i], "http") && !exchange.EqualFold(t[:i], "https") {
		r.Path = "/"
		return badRequest("bad-target", "the request target is neither a path nor an http or https URI (RFC 9112 section 3.2)")
	}
	t = t[i+3:]
	end := strings.IndexAny(t, "/?#")
	if end < 0 {
		end = len(t)
	}
	r.Authority = t[:end]
	switch {
	case end == len(t) && r.Method == "OPTIONS":
		r.Path = "*" // RFC 9112 section 3.2.4
	default:
		if fault := splitPath(r, t[end:]); fault != nil {
			return fault
		}
	}
	if r.Authority == "" || !validAuthority(r.Authority) {
		return badRequest("bad-target", "the request target's authority is not valid (RFC 9110 section 4.2)")
	}
	return nil
}

func splitPath(r *exchange.Request, t string) *exchange.Fault {
	r.Path = t
	if i := strings.IndexByte(t, '?'); i >= 0 {
		r.Path, r.Query = t[:i], t[i+1:]
	}
	if r.Path == "" {
		r.Path = "/"
	}
	if strings.IndexByte(t, '#') >= 0 {
		return badRequest("bad-target", "a request target has no fragment (RFC 9112 section 3.2)")
	}
	return nil
}

// requestFields reads the field lines of a request.
type requestFields struct {
	control
	r        *exchange.Request
	http10   bool
	hosts    int
	host     string
	expects  int
	expect   string
	badTrail bool
}

func (h *requestFields) read(head []byte, s string, at, count int) *exchange.Fault {
	for lines := 1; at+2 < len(head); lines++ {
		name, value, next, bad := fieldLine(head, s, at)
		if bad != "" {
			return badRequest("bad-line", bad)
		}
		if count > 0 && lines > count {
			return tooManyFields(count)
		}
		at = next
		switch len(name) {
		case len("Host"):
			if exchange.EqualFold(name, "Host") {
				h.hosts++
				h.host = value
				continue
			}
		case len("Expect"):
			if exchange.EqualFold(name, "Expect") {
				h.expects++
				h.expect = value
			}
		case len("Upgrade"): // and Trailer
			if exchange.EqualFold(name, "Trailer") {
				h.badTrail = h.badTrail || !validTrailer(value)
			}
			h.take(name, value)
		case len("Connection"), len("Content-Length"), len("Transfer-Encoding"):
			if h.take(name, value) {
				continue
			}
		}
		h.r.Header.Add(name, value)
	}
	return nil
}

// settle checks what the lines say together and fills in what follows from it.
func (h *requestFields) settle() (framing, *exchange.Fault) {
	r := h.r
	if r.Authority == "" {
		r.Authority = h.host // otherwise the target's wins (RFC 9112 section 3.2.2)
	}
	f, why := h.control.settle(h.http10)
	r.Length = f.length
	switch {
	case h.unknown:
		return f, &exchange.Fault{Source: exchange.FromClient, Status: 501, Code: "unknown-coding",
			Title: "Transfer coding is not known", Detail: why, Close: true}
	case why != "":
		r.Length = 0
		return f, badRequest("bad-framing", why)
	case h.hosts > 1:
		return f, badRequest("bad-host", "there is more than one Host field (RFC 9112 section 3.2)")
	case h.hosts == 0 && !h.http10, r.Authority == "" && !h.http10:
		return f, badRequest("no-authority", "the request names no host")
	case h.host != "" && !validAuthority(h.host):
		return f, badRequest("bad-host", "the Host field is not a valid authority (RFC 9110 section 7.2)")
	case h.badTrail:
		return f, badRequest("bad-trailer", "the Trailer field names what is no trailer field (RFC 9110 section 6.6.2)")
	}
	if h.expects > 0 {
		if fault := h.expectation(f); fault != nil {
			return f, fault
		}
	}
	if h.upgrades == 1 && !h.http10 && f.length == 0 && h.options&optUpgrade != 0 {
		r.Upgrade = upgradeTo(h.upgrade)
	}
	return f, nil
}

// expectation takes Expect off where nobody is to hear of it: an HTTP/1.0
// client's means nothing (RFC 9110 section 10.1.1), and one without a body must
// not be sent.
func (h *requestFields) expectation(f framing) *exchange.Fault {
	switch {
	case h.http10:
		h.r.Header.Del("Expect")
	case h.expects > 1 || !exchange.EqualFold(h.expect, "100-continue"):
		return &exchange.Fault{Source: exchange.FromClient, Status: 417, Code: "expectation-failed",
			Title: "Expectation cannot be met", Detail: "100-continue is the only expectation known (RFC 9110 section 10.1.1)", Close: true}
	case f.length == 0:
		h.r.Header.Del("Expect")
	default:
		h.r.Expect = true
	}
	return nil
}

// upgradeTo returns the one protocol of an Upgrade field, lower case. h2c is
// never switched to: the upgraded connection would carry requests no filter has
// seen.
func upgradeTo(value string) string {
	name, version, versioned := strings.Cut(value, "/")
	if !isToken(name) || versioned && !isToken(version) || exchange.EqualFold(value, "h2c") {
		return ""
	}
	return strings.ToLower(value) // allocates for those who write WebSocket
}

// validTrailer reports whether every name a Trailer field announces can be one
// of a trailer.
func validTrailer(value string) bool {
	for more := true; more; {
		var name string
		name, value, more = nextMember(value)
		if name != "" && !isToken(name) || exchange.EqualFold(name, "Content-Length") ||
			exchange.EqualFold(name, "Transfer-Encoding") || exchange.EqualFold(name, "Trailer") {
			return false
		}
	}
	return true
}

// validAuthority reports whether s is uri-host [ ":" port ] (RFC 9110 section
// 7.2), without the user information that http URIs must not have.
func validAuthority(s string) bool {
	i := 0
	if s != "" && s[0] == '[' {
		for i = 1; i < len(s) && (isHex(s[i]) || s[i] == ':' || s[i] == '.'); i++ {
		}
		if i < 3 || i >= len(s) || s[i] != ']' {
			return false
		}
		i++
	} else {
		for i < len(s) && isHostByte[s[i]] {
			if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
				return false
			}
			i++
		}
		if i == 0 {
			return false
		}
	}
	if i == len(s) {
		return true
	}
	if s[i] != ':' || len(s)-i > 6 {
		return false
	}
	port := 0
	for i++; i < len(s); i++ {
		d := int(s[i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		port = port*10 + d
	}
	return port <= 65535
}

// isHostByte are the bytes of a reg-name (RFC 3986 section 3.2.2).
var isHostByte = func() (t [256]bool) {
	for c := 0; c < 256; c++ {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		t[c] = letter || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=%", byte(c)) >= 0
	}
	return t
}()

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}
