package errorpages

import "lintel.dev/lintel/proxy/exchange"

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(x *exchange.Exchange) string {
	form, whose := "problem details", "Lintel's own"
	if wantsHTML(&x.Request.Header) {
		form = "an HTML page"
	}
	switch {
	case f.service4xx:
		whose = "the service's and Lintel's own"
	case f.service5xx:
		whose = "the service's 5xx and Lintel's own"
	}
	return "errors, " + whose + ", become " + form + ", which is what the client likes best"
}
