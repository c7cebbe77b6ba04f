package openapi

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	p, _ := f.api.find(x.Request.Path)
	switch {
	case p == nil:
		return "the API has no path " + x.Request.Path
	case p.methods[x.Request.Method] == nil:
		return fmt.Sprintf("%s of the API, which does not take %s", p.template, x.Request.Method)
	}
	return fmt.Sprintf("operation %s %s", x.Request.Method, p.template)
}
