package jsonbody

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/content"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	r := &x.Request
	switch {
	case f.request == nil:
		return "it edits answers only"
	case r.Body == nil || r.Length == 0:
		return "the request has no body"
	case !content.IsJSON(r.Header.Get("Content-Type")):
		return "the request's body is not JSON"
	}
	return "a JSON body"
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	if f.response == nil {
		return ""
	}
	return fmt.Sprintf("if it is JSON of %d bytes or less: %s", f.max, f.response.about)
}
