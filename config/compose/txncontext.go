package compose

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
)

// maxContext bounds what all entries of a token's context may hold together:
// every hop pays for it.
const maxContext = 2048

// TxnContext fills the claim tctx of a user's Txn-Token from the declared
// parts of a request.
type TxnContext []contextPart

type contextPart struct {
	name string
	from config.TxnContext
}

// NewTxnContext checks what is declared and returns it for a route with this
// match.path: a path parameter that the route does not have is not asked for.
func NewTxnContext(declared map[string]config.TxnContext, path string) (TxnContext, error) {
	var c TxnContext
	for name, from := range declared {
		given := 0
		for _, source := range []string{from.Header, from.Claim, from.PathParam, from.Query, from.Literal} {
			if source != "" {
				given++
			}
		}
		switch {
		case name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
			return nil, fmt.Errorf("%q is no name: at most 64 printable ASCII characters without spaces and quotes", name)
		case name == txntoken.ContextRoles || name == txntoken.ContextIssuer:
			return nil, fmt.Errorf("%s: filled by Lintel itself, from the verified user", name)
		case given != 1:
			return nil, fmt.Errorf("%s: exactly one of header, claim, path_param, query and literal must be given, found %d", name, given)
		case exchange.EqualFold(from.Header, "Authorization"), exchange.EqualFold(from.Header, "Cookie"), exchange.EqualFold(from.Header, "Proxy-Authorization"):
			return nil, fmt.Errorf("%s: a credential (%s) must not travel in a token", name, from.Header)
		case len(from.Literal) > from.MaxBytes || !plain(from.Literal):
			return nil, fmt.Errorf("%s: literal is longer than max_bytes or has control characters", name)
		}
		if from.PathParam == "" || strings.Contains(path, "{"+from.PathParam+"}") {
			c = append(c, contextPart{name, from})
		}
	}
	slices.SortFunc(c, func(a, b contextPart) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

// fill returns the context for x, nil when there is nothing.
func (c TxnContext) fill(x *exchange.Exchange) (map[string]any, *exchange.Fault) {
	if len(c) == 0 {
		return nil, nil
	}
	out := make(map[string]any, len(c))
	total := 0
	for i := range c {
		p := &c[i]
		value, size, err := p.value(x)
		switch {
		case err != nil:
			return nil, badContext(p.name, err)
		case value == nil && p.from.Required:
			return nil, badContext(p.name, fmt.Errorf("it is required and not there"))
		case value == nil:
			continue
		case size > p.from.MaxBytes:
			return nil, badContext(p.name, fmt.Errorf("it has %d bytes, at most %d are allowed", size, p.from.MaxBytes))
		}
		if total += len(p.name) + size; total > maxContext {
			return nil, badContext(p.name, fmt.Errorf("all parts together have more than %d bytes", maxContext))
		}
		out[p.name] = value
	}
	return out, nil
}

func badContext(name string, err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusBadRequest, Code: "txn-context",
		Title: "The transaction's context cannot be made of this request", Detail: name + ": " + err.Error(), Err: err}
}

// value is nil when the request has no such part. What is returned is a copy.
func (p *contextPart) value(x *exchange.Exchange) (v any, size int, err error) {
	var text string
	switch f := &p.from; {
	case f.Literal != "":
		text = f.Literal
	case f.Header != "":
		if n := x.Request.Header.Count(f.Header); n > 1 {
			return nil, 0, fmt.Errorf("the request has it %d times", n)
		}
		text = x.Request.Header.Get(f.Header)
	case f.PathParam != "":
		// As it stands in the path: two spellings are two values.
		text = x.Param(f.PathParam)
	case f.Query != "":
		if text, err = onlyQuery(x.Request.Query, f.Query); err != nil {
			return nil, 0, err
		}
	case f.Claim != "":
		return claim(x.Identity, f.Claim)
	}
	if text == "" {
		return nil, 0, nil
	}
	if !plain(text) {
		return nil, 0, fmt.Errorf("it is no UTF-8 text, or has control characters")
	}
	return strings.Clone(text), len(text), nil
}

// plain reports whether s is text that may stand in a log and a header.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// onlyQuery reads a parameter that must not be given twice: services differ in
// which one they take.
func onlyQuery(query, name string) (string, error) {
	if query == "" {
		return "", nil
	}
	found, has := "", false
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		if err != nil {
			return "", fmt.Errorf("the query has a broken escape")
		}
		if key != name {
			continue
		}
		if has {
			return "", fmt.Errorf("the query has it twice")
		}
		if found, err = url.QueryUnescape(v); err != nil {
			return "", fmt.Errorf("the query has a broken escape")
		}
		has = true
	}
	return found, nil
}

// claim reads a claim of the user's own verified token.
func claim(id *exchange.Identity, path string) (v any, size int, err error) {
	if id == nil || id.Claims == nil {
		return nil, 0, nil
	}
	v, has := id.Claims[path] // "https://example.com/claim" has dots of its own
	if !has {
		m := id.Claims
		for part := range strings.SplitSeq(path, ".") {
			if m == nil {
				return nil, 0, nil
			}
			v = m[part]
			m, _ = v.(map[string]any)
		}
	}
	switch c := v.(type) {
	case nil:
		return nil, 0, nil
	case string:
		if !plain(c) {
			return nil, 0, fmt.Errorf("the claim has control characters")
		}
		return c, len(c), nil
	case bool, float64, json.Number:
		return c, len(fmt.Sprint(c)), nil
	case []any:
		for _, e := range c {
			s, ok := e.(string)
			if !ok || !plain(s) {
				return nil, 0, fmt.Errorf("the claim is a list of other than strings")
			}
			size += len(s) + 3
		}
		return c, size, nil
	}
	return nil, 0, fmt.Errorf("the claim is no string, number, boolean or list of strings")
}
