package compress

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	choice, _ := x.Kept().(uint8)
	if choice == identity {
		return "the client takes none of the codings"
	}
	return "the client likes " + f.codings[choice-1].name + " best"
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(x *exchange.Exchange) string {
	choice, _ := x.Kept().(uint8)
	if choice == identity {
		return "goes as it is, with Vary: Accept-Encoding"
	}
	return fmt.Sprintf("goes as %s, if it is of a type that is compressed and of %d bytes or more", f.codings[choice-1].name, f.minSize)
}
