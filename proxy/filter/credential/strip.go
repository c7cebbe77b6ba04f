package credential

import "lintel.dev/lintel/proxy/exchange"

// Stripper is a filter that can take off a request whatever it reads or hands on
// of credentials, good or bad, where a Looker's one place does not say it all.
type Stripper interface {
	Strip(x *exchange.Exchange)
}

// Strips returns what takes the credentials that f is about off a request that
// goes to somebody they are not for; nil when f is about none.
func Strips(f any) func(*exchange.Exchange) {
	switch f := f.(type) {
	case Stripper:
		return f.Strip
	case Looker:
		return f.Looks().Remove
	}
	return nil
}
