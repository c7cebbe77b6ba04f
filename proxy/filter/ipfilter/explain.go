package ipfilter

import "lintel.dev/lintel/proxy/exchange"

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	a := x.ClientIP.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return "the caller has no address"
	case in(f.deny, f.denyFile, a):
		return "client " + a.String() + " is denied"
	case f.only && !in(f.allow, f.allowFile, a):
		return "client " + a.String() + " is not among those allowed"
	case f.only:
		return "client " + a.String() + " is allowed"
	}
	return "client " + a.String() + " is not denied"
}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}
