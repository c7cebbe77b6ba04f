package requestlimits

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	r := &x.Request
	s := fmt.Sprintf("a query of %d bytes", len(r.Query))
	switch {
	case r.Body == nil || r.Length == 0:
		return s + ", no body"
	case r.Length < 0:
		s += ", a body of unknown length"
	default:
		s += fmt.Sprintf(", a body of %d bytes", r.Length)
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		s += " of " + t
	}
	return s
}
