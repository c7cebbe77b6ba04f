package filter

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// What a filter may say of itself to explain, and to who checks the order of a
// chain. All of it is optional, and none is asked while requests are served.
type (
	// AnswerAccounter says in one line what OnResponse or OnFault would do to the
	// answer of x, as far as that can be told without one; "" for nothing. It is
	// asked after OnRequest, in the same slot.
	AnswerAccounter interface {
		AccountAnswer(x *exchange.Exchange) string
	}
	// CallerFilter reports whether its verdict, or what it changes, rests on who
	// makes x: its identity, its consumer, or what an authorizer says of it in
	// header fields. It changes nothing.
	CallerFilter interface {
		DependsOnCaller(x *exchange.Exchange) bool
	}
	// Identifier is a filter that may say who is calling without being an
	// Authenticator, because it has somebody else find out.
	Identifier interface {
		Identifies()
	}
	// Guard is a filter whose refusals protect answers: what it would have
	// refused must not be answered by a filter before it. One that only limits
	// how much is asked of a service, or checks the form of requests, is none.
	Guard interface {
		GuardsAnswers()
	}
	// Replayer is a filter that gives answers again, without asking the filters
	// behind it.
	Replayer interface {
		ReplaysAnswers()
	}
)

// Caller says in words who makes x, as filters found out: what those that ask
// for it rest on.
func Caller(x *exchange.Exchange) string {
	var parts []string
	if id := x.Identity; id != nil {
		parts = append(parts, "user "+id.Subject)
		if len(id.Roles) > 0 {
			parts = append(parts, "roles "+strings.Join(id.Roles, " "))
		}
		if len(id.Scope) > 0 {
			parts = append(parts, "scope "+strings.Join(id.Scope, " "))
		}
	}
	if x.Consumer != "" {
		parts = append(parts, "consumer "+x.Consumer)
	}
	if parts == nil {
		return "nobody is known to be calling"
	}
	return strings.Join(parts, ", ")
}
