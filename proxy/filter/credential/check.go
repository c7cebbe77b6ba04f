package credential

import (
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Off in place of a header's name looks in none.
const Off = "off"

// Check finds what cannot be a place, under the keys header, prefix, cookie and
// query.
func (p *Place) Check() error {
	if p.Header != "" && !HeaderName(p.Header) {
		return filter.Errorf("header", "%q is no header name", p.Header)
	}
	if p.Header != "" {
		switch strings.ToLower(p.Header) {
		case "cookie", "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
			"txn-token", "hop-token", "proxy-authorization":
			return filter.Errorf("header", "%s cannot carry a credential of a client here", p.Header)
		}
	}
	if p.Prefix != "" && (p.Header == "" || !token(p.Prefix)) {
		return filter.Errorf("prefix", "%q is no scheme for a header: want one word, as Bearer, and a header (RFC 9110 section 11.1)", p.Prefix)
	}
	if p.Cookie != "" && !token(p.Cookie) {
		return filter.Errorf("cookie", "%q is no cookie name (RFC 6265 section 4.1.1)", p.Cookie)
	}
	if p.Query != "" && strings.ContainsFunc(p.Query, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("&=+%#;", r) }) {
		return filter.Errorf("query", "%q is no parameter name: want it as a service reads it, without any of & = + %% # ;", p.Query)
	}
	if p.Header == "" && p.Cookie == "" && p.Query == "" {
		return filter.Errorf("", "there is no place where the credential could be")
	}
	return nil
}

// HeaderName reports whether s is a header field's name.
func HeaderName(s string) bool {
	_, err := firewall.NewSet(s)
	return err == nil && !strings.Contains(s, "*")
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r)
	})
}

// Quotable reports whether s may stand in a quoted-string of a challenge.
func Quotable(s string) error {
	if strings.ContainsAny(s, `"\`) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("must not hold quotes, backslashes or control characters")
	}
	return nil
}
