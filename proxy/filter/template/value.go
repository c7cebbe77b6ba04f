package template

import (
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// value adds the placeholder's raw value for x.
func (p *part) value(b []byte, x *exchange.Exchange) []byte {
	switch p.fact {
	case "client_ip":
		if x.ClientIP.IsValid() {
			b = x.ClientIP.AppendTo(b)
		}
	case "request_id":
		b = append(b, x.ID...)
	case "trace_id":
		if x.Trace.Valid() {
			b = hex.AppendEncode(b, x.Trace.ID[:])
		}
	case "route":
		b = append(b, x.Route...)
	case "method":
		b = append(b, x.Request.Method...)
	case "scheme":
		b = append(b, x.Request.Scheme...)
	case "host":
		b = append(b, x.Request.Authority...)
	case "path":
		b = append(b, x.Request.Path...)
	case "consumer":
		b = append(b, x.Consumer...)
	case "subject":
		if x.Identity != nil {
			b = append(b, x.Identity.Subject...)
		}
	case "claim":
		if x.Identity != nil {
			b = appendClaim(b, x.Identity.Claims, p.arg, p.path)
		}
	case "param":
		b = append(b, x.Param(p.arg)...)
	case "header":
		b = append(b, x.Request.Header.Joined(p.arg)...)
	case "query":
		b = append(b, parameter(x.Request.Query, p.arg)...)
	}
	return b
}

// appendClaim follows the path through nested objects. A claim whose own name
// has dots, as URLs have, is found by that name. A list is joined by commas,
// without members that hold one: each would pass for two.
func appendClaim(b []byte, claims map[string]any, name string, path []string) []byte {
	v, ok := claims[name]
	if !ok && len(path) > 1 {
		var here any = claims
		for _, step := range path {
			m, is := here.(map[string]any)
			if !is {
				return b
			}
			if here, ok = m[step]; !ok {
				return b
			}
		}
		v = here
	}
	list, many := v.([]any)
	if !many {
		return appendScalar(b, v)
	}
	for start := len(b); len(list) > 0; list = list[1:] {
		if s, ok := list[0].(string); ok && (s == "" || strings.Contains(s, ",")) {
			continue
		}
		if at := len(b); at > start {
			b = append(b, ',')
			if b = appendScalar(b, list[0]); len(b) == at+1 {
				b = b[:at]
			}
		} else {
			b = appendScalar(b, list[0])
		}
	}
	return b
}

func appendScalar(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(b, v...)
	case json.Number:
		return append(b, v...)
	case float64:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)
	}
	return b
}

// parameter returns the first parameter of that name, decoded.
func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k != name {
			if !strings.ContainsAny(k, "%+") {
				continue
			}
			if u, err := url.QueryUnescape(k); err != nil || u != name {
				continue
			}
		}
		if u, err := url.QueryUnescape(v); err == nil {
			return u
		}
		return v
	}
	return ""
}

// write makes of the raw value b[start:] what may stand there. escaped says that
// it is in the form paths have on the wire.
func write(b []byte, start int, to Place, escaped bool) []byte {
	switch {
	case to == Field:
		return printable(b, start)
	case to == Path && escaped, to == Text && !escaped:
		return b
	case to == Path:
		return percent(b, start)
	}
	raw := string(b[start:])
	if escaped {
		if u, err := url.PathUnescape(raw); err == nil {
			raw = u
		}
	}
	b = append(b[:start], raw...)
	if to == Query {
		return percent(b, start)
	}
	return b
}

// printable drops control characters: a value never ends its line. White space
// at its ends would be lost on the way.
func printable(b []byte, start int) []byte {
	kept := start
	for _, c := range b[start:] {
		if c >= ' ' && c != 0x7f || c == '\t' {
			b[kept] = c
			kept++
		}
	}
	return b[:kept]
}

// percent encodes all but unreserved characters (RFC 3986 section 2.3).
func percent(b []byte, start int) []byte {
	const hexDigits = "0123456789ABCDEF"
	clean := true
	for _, c := range b[start:] {
		clean = clean && unreserved(c)
	}
	if clean {
		return b
	}
	raw := string(b[start:])
	b = b[:start]
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
