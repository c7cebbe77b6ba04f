package extauthz

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter: what the authorizer would be told. Of
// header fields only the names.
func (f *Filter) Account(x *exchange.Exchange) string {
	var parts []string
	for i, told := range f.tell {
		switch {
		case !told:
		case i == uri: // its query may hold a credential
			parts = append(parts, "uri "+x.Request.Path)
		default:
			parts = append(parts, facts[i]+" "+string(fact(x, i, nil)))
		}
	}
	if f.given != nil {
		for name := range x.Request.Header.All() {
			if f.given.Match(name) {
				parts = append(parts, "header "+name)
			}
		}
	}
	return strings.Join(parts, ", ")
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	if f.toClient == nil {
		return ""
	}
	return "gets the authorizer's " + strings.Join(f.ToClient, " ")
}

// Identifies implements filter.Identifier.
func (f *Filter) Identifies() {}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}

// Strip implements credential.Stripper: what the authorizer is given of the
// client's headers.
func (f *Filter) Strip(x *exchange.Exchange) {
	if f.given != nil {
		x.Request.Header.Filter(func(name, _ string) bool { return !f.given.Match(name) })
	}
}
