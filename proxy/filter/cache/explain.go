package cache

import (
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *cache) Account(x *exchange.Exchange) string {
	r := &x.Request
	saw := f.look(&r.Header)
	switch why, unsafe := f.passes(r, saw); {
	case unsafe:
		return r.Method + " is never answered from it, and its success invalidates what is kept"
	case why != "":
		return "not a request that is answered from it"
	case known(x) || saw&sawCredential != 0:
		return "a request that says who is asking; known users " + f.Authorized
	}
	return "a request of nobody in particular"
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *cache) AccountAnswer(x *exchange.Exchange) string {
	r := &x.Request
	if why, _ := f.passes(r, f.look(&r.Header)); why != "" || r.Method != http.MethodGet {
		return "it is not kept"
	}
	s := "it is kept if its status and Cache-Control let a shared cache"
	if f.TTL > 0 {
		s += ", for " + f.TTL.String() + " when the service does not say how long"
		if f.Override {
			s += " or says otherwise"
		}
	}
	return s + "; Cache-Status tells"
}

// ReplaysAnswers implements filter.Replayer.
func (f *cache) ReplaysAnswers() {}
