package securityheaders

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(x *exchange.Exchange) string {
	var names []string
	for _, l := range f.lines {
		names = append(names, l.Name)
	}
	if f.hsts != "" && (x.Request.Scheme == "https" || f.plaintext) {
		names = append(names, hstsName)
	}
	if f.override {
		return "sets " + strings.Join(names, ", ")
	}
	return "adds what is missing of " + strings.Join(names, ", ")
}
