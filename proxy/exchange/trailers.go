package exchange

import "strings"

// MayTrail reports whether a field may come after the body. What decides about
// framing, routing, authentication, caching or how the content is to be read
// has been acted on by then (RFC 9110 section 6.5.1): a service that merged it
// into the header would act on something that no filter has seen.
func MayTrail(name string) bool {
	for _, no := range notTrailing {
		if SameName(name, no) {
			return false
		}
	}
	for _, no := range notTrailingSo {
		if len(name) >= len(no) && SameName(name[:len(no)], no) {
			return false
		}
	}
	return true
}

var notTrailing = [...]string{"host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
	"expect", "max-forwards", "range", "via", "forwarded", "x-real-ip", "x-request-id", "traceparent", "tracestate",
	"authorization", "cookie", "set-cookie", "www-authenticate", "authentication-info", "txn-token",
	"age", "cache-control", "pragma", "expires", "date", "vary", "location", "retry-after", "warning", "accept-ranges",
	"strict-transport-security"}

var notTrailingSo = [...]string{"x-forwarded-", "if-", "content-", "proxy-", "access-control-"}

// DropNominated takes off fields that a message's Connection field names: they
// are the connection's own, after the body as well (RFC 9110 section 7.6.1).
func (f *Fields) DropNominated(connection string) {
	if connection == "" || f.Len() == 0 {
		return
	}
	f.Filter(func(name, _ string) bool { return !Lists(connection, name) })
}

// Lists reports whether a comma-separated list has a member, in whatever case.
func Lists(list, member string) bool {
	for more := true; more; {
		var one string
		if one, list, more = strings.Cut(list, ","); EqualFold(Trim(one), member) {
			return true
		}
	}
	return false
}
