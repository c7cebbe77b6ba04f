package maintenance

import "lintel.dev/lintel/proxy/exchange"

// Account implements filter.Accounter. The secret is gone by now, so it says
// nothing of it.
func (f *Filter) Account(x *exchange.Exchange) string {
	switch {
	case !f.closed:
		return "the route is open"
	case f.allow.Has(x.ClientIP):
		return "closed; client " + x.ClientIP.String() + " gets through"
	}
	return "closed; client " + x.ClientIP.String() + " is none of those that get through by their address"
}
