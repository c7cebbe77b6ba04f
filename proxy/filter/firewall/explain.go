package firewall

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	return fmt.Sprintf("reserved header fields from the client: %d", x.Removed)
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	return "loses Lintel's internal tokens"
}
