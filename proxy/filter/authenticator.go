package filter

import "lintel.dev/lintel/proxy/exchange"

// Presence says how much of the credential that a filter looks for a request
// carries.
type Presence int

// Whether it is good is not asked.
const (
	Absent  Presence = iota
	Partial          // some of several that belong together
	Present
)

// Authenticator is a filter that says who is calling. any_of and all_of combine
// such filters.
type Authenticator interface {
	RequestFilter
	// Presence says whether x carries what it looks for, good or bad. It changes
	// nothing.
	Presence(x *exchange.Exchange) Presence
	// Missing is the refusal of a request without it; its WWW-Authenticate fields
	// say how to do better.
	Missing() *exchange.Fault
	// Skip takes off x the client's copies of the header fields that OnRequest
	// writes, and the credential, even where OnRequest would leave it: a service
	// that is given one believes that it was verified. It is called in place of
	// OnRequest when another filter has the say.
	Skip(x *exchange.Exchange)
}
