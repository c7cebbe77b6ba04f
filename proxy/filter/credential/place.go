package credential

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Place is where a credential is looked for. A name that is empty is no place.
type Place struct {
	Header string
	Prefix string // the word that stands before it in the header, as Bearer (RFC 9110 section 11.4)
	Bare   bool   // the header may also hold it without Prefix
	Cookie string
	Query  string
}

// Find returns the credential and how many there are: of several none is
// returned, because the service might read another one than was checked. The
// value may be empty where a place says that it holds one.
func (p *Place) Find(x *exchange.Exchange) (value string, n int) {
	if p.Header != "" {
		value, n = p.inHeader(&x.Request.Header)
	}
	if p.Cookie != "" {
		v, more := findCookie(&x.Request.Header, p.Cookie)
		value, n = value+v, n+more // one of the two is empty, or there are several
	}
	if p.Query != "" && x.Request.Query != "" {
		v, more := findQuery(x.Request.Query, p.Query)
		value, n = value+v, n+more
	}
	if n != 1 {
		return "", n
	}
	return value, 1
}

// inHeader counts every line of the name as one, whatever its scheme, when
// there are several.
func (p *Place) inHeader(h *exchange.Fields) (string, int) {
	value, n := "", 0
	for i := range h.Len() {
		if line := h.At(i); alike(line.Name, p.Header) {
			value, n = line.Value, n+1
		}
	}
	if n > 1 {
		return "", n
	}
	if value = exchange.Trim(value); value == "" {
		return "", 0
	}
	if p.Prefix == "" {
		return value, 1
	}
	scheme, rest := value, ""
	end := strings.IndexAny(value, " \t") // a tab is wrong there, and read as a space by many
	if end >= 0 {
		scheme, rest = value[:end], value[end:]
	}
	if exchange.EqualFold(scheme, p.Prefix) {
		return exchange.Trim(rest), 1
	}
	if !p.Bare || end >= 0 {
		return "", 0 // another scheme's credential
	}
	return value, 1
}

// Take takes off x the one credential that Find has just found.
func (p *Place) Take(x *exchange.Exchange) {
	if p.Cookie == "" && p.Query == "" {
		p.drop(&x.Request.Header) // it is the only line, and read already
		return
	}
	p.Remove(x)
}

// Remove takes off x whatever credentials there are. Lines of the header that
// hold another scheme's stay.
func (p *Place) Remove(x *exchange.Exchange) {
	h := &x.Request.Header
	if p.Header != "" {
		if _, n := p.inHeader(h); n > 0 {
			p.drop(h)
		}
	}
	if p.Cookie != "" {
		removeCookie(h, p.Cookie)
	}
	if p.Query != "" {
		x.Request.Query = withoutParameter(h, x.Request.Query, p.Query)
	}
	p.Hide(x)
}

// drop takes off every line of the header.
func (p *Place) drop(h *exchange.Fields) {
	for i := h.Len() - 1; i >= 0; i-- {
		if alike(h.At(i).Name, p.Header) {
			h.Remove(i)
		}
	}
}

// alike compares names as a service does that reads X_API_Key as X-API-Key:
// a credential that only it finds would have been verified by nobody.
func alike(name, other string) bool {
	if len(name) != len(other) {
		return false
	}
	for i := range len(name) {
		if folded(name[i]) != folded(other[i]) {
			return false
		}
	}
	return true
}

func folded(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c | 0x20
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	}
	return '-'
}

// Hide takes it off what observers log of the request line.
func (p *Place) Hide(x *exchange.Exchange) {
	if p.Query != "" {
		x.Original.Query = withoutParameter(&x.Request.Header, x.Original.Query, p.Query)
	}
}

// Hidden is what filter.QueryHider tells of it.
func (p *Place) Hidden() []filter.HiddenQuery {
	if p.Query == "" {
		return nil
	}
	return []filter.HiddenQuery{{Name: p.Query, Hide: func(x *exchange.Exchange) {
		if x.Original.Query != "" {
			p.Hide(x)
		}
		hideReferer(&x.Request.Header, p.Query)
	}}}
}

// hideReferer takes a parameter off every Referer: a page that was opened by a
// credential in its URL names that URL to whatever it loads.
func hideReferer(h *exchange.Fields, name string) {
	for i := h.Len() - 1; i >= 0; i-- {
		line := h.At(i)
		if !exchange.EqualFold(line.Name, "Referer") {
			continue
		}
		before, query, ok := strings.Cut(line.Value, "?")
		if !ok {
			continue
		}
		query, fragment, _ := strings.Cut(query, "#") // no client sends one, and none may hide a parameter
		if !mentions(query, name) && !mentions(fragment, name) {
			continue
		}
		if query = withoutParameter(h, query, name); query != "" {
			query = "?" + query
		}
		h.Remove(i)
		h.Add("Referer", before+query)
	}
}

// String says where in words.
func (p *Place) String() string {
	var in []string
	if p.Header != "" {
		text := "header " + p.Header
		if p.Prefix != "" && !p.Bare {
			text += " after " + p.Prefix
		}
		in = append(in, text)
	}
	if p.Cookie != "" {
		in = append(in, "cookie "+p.Cookie)
	}
	if p.Query != "" {
		in = append(in, "query parameter "+p.Query)
	}
	return strings.Join(in, " or ")
}
