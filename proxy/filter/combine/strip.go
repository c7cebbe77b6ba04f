package combine

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/credential"
)

// Strip implements credential.Stripper.
func (f *Any) Strip(x *exchange.Exchange) { strip(f.members, x) }

// Strip implements credential.Stripper.
func (f *All) Strip(x *exchange.Exchange) { strip(f.members, x) }

func strip(members []member, x *exchange.Exchange) {
	for _, m := range members {
		if off := credential.Strips(m.Authenticator); off != nil {
			off(x)
		}
	}
}
