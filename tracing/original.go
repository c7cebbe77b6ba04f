package tracing

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// remember keeps the request line before filters rewrite it. Every observer
// calls it in Begin; the first one does the work.
func remember(x *exchange.Exchange) {
	o := &x.Original
	if o.Method != "" || o.Path != "" {
		return
	}
	o.Method, o.Scheme, o.Authority = x.Request.Method, x.Request.Scheme, x.Request.Authority
	o.Path, o.Query = cutTarget(x.Request.Target)
	if o.Path == "" {
		o.Path, o.Query = x.Request.Path, x.Request.Query
	}
}

// cutTarget takes path and query from a request target in origin or absolute
// form (RFC 9112 section 3.2). Userinfo of an absolute form never gets through.
func cutTarget(target string) (path, query string) {
	if strings.HasPrefix(target, "/") {
		path, query, _ = strings.Cut(target, "?")
		return path, query
	}
	if _, rest, ok := strings.Cut(target, "://"); ok {
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			return "/", ""
		}
		target = rest[i:]
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" && query != "" {
		path = "/"
	}
	return path, query
}

// label is the place of a label's value in its list; 0 is the first, "_OTHER".
type label uint8

// labels are all values that a label may have, so that what clients choose
// stays bounded. Their memory is never a view of a request: metrics keep it.
type labels []string

func (l labels) find(value string) label {
	for i := 1; i < len(l); i++ {
		if l[i] == value {
			return label(i)
		}
	}
	return 0
}

func (l labels) text(i label) string { return l[i] }

// other stands for everything that a bounded label has no room for.
const other = "_OTHER"

// methods are those of RFC 9110 and RFC 5789 and QUERY, as the semantic
// conventions say.
var methods = labels{other, "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"}

func methodLabel(m string) string { return methods.text(methods.find(m)) }

var schemes = labels{other, "http", "https"}

// versions are network.protocol.version.
var versions = labels{other, "1.1", "2", "1.0", "3"}

// protocol is the version in a Request.Proto.
func protocol(proto string) label {
	switch proto {
	case "HTTP/1.1":
		return 1
	case "HTTP/2.0", "HTTP/2":
		return 2
	case "HTTP/1.0":
		return 3
	case "HTTP/3.0", "HTTP/3":
		return 4
	}
	return 0
}

func protoVersion(proto string) string { return versions.text(protocol(proto)) }

// Values of error.type for exchanges that broke off.
const (
	errAborted = "aborted" // the client went away or the answer broke off midway
)

// serverError is error.type of an exchange as its server sees it: a 4xx is the
// client's error and not the server's.
func serverError(x *exchange.Exchange) string {
	switch {
	case x.Response.Status >= 500 && x.Fault != nil:
		return x.Fault.Code
	case x.Response.Status >= 500:
		return statusLabel(x.Response.Status)
	case x.Abort != nil:
		return errAborted
	}
	return ""
}

// clientError is error.type of an exchange as its client sees it.
func clientError(x *exchange.Exchange) string {
	switch {
	case x.Fault != nil:
		return x.Fault.Code
	case x.Response.Status >= 400:
		return statusLabel(x.Response.Status)
	case x.Abort != nil:
		return errAborted
	}
	return ""
}
