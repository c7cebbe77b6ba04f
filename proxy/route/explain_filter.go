package route

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// What a filter says of a request that is only explained.
const (
	Pass       = "pass"
	Refuse     = "refuse"
	Answer     = "answer"
	NotAsked   = "not asked"   // it would have to ask somebody, or to count
	NotReached = "not reached" // one before it has refused or answered
	OnAnswers  = "on answers"  // it does nothing to requests
	Depends    = "depends"     // on what a filter that was not asked says of the caller
	Failed     = "failed"      // it panicked
)

// FilterLine is one filter, in the order they run.
type FilterLine struct {
	Kind     string   `json:"kind"`
	Pos      string   `json:"position"`
	Policy   string   `json:"policy,omitempty"`
	Settings string   `json:"settings,omitempty"`
	Verdict  string   `json:"verdict"`
	Status   int      `json:"status,omitempty"`
	Code     string   `json:"code,omitempty"`
	Why      string   `json:"why,omitempty"`
	Inputs   string   `json:"inputs,omitempty"`
	Changes  []string `json:"changes,omitempty"`
	OnAnswer string   `json:"on_answer,omitempty"` // what it would do to the answer
}

// shadowed runs filters on an exchange that goes nowhere.
type shadowed struct {
	x    *exchange.Exchange
	e    *Explanation
	next int // slot
	over bool
	// unsure are the filters that could have said who is calling and were not
	// asked: who depends on that cannot be judged.
	unsure []string
}

var errShadow = errors.New("route: nobody is asked for an explanation")

// filters runs them until one refuses or answers, and reports whether none did.
func (s *shadowed) filters(list []filter.Instance) bool {
	for i := range list {
		in := &list[i]
		l := FilterLine{Kind: in.Kind, Pos: in.Pos, Policy: in.Policy}
		if ex, ok := in.Filter.(filter.Explainer); ok {
			l.Settings = ex.Explain()
		}
		switch {
		case s.over:
			l.Verdict = NotReached
		case in.Request == nil:
			l.Verdict = OnAnswers
		default:
			s.run(in, &l)
		}
		if l.Verdict != NotReached && l.Verdict != Failed {
			s.answer(in, &l)
		}
		s.next++
		s.e.Filters = append(s.e.Filters, l)
	}
	return !s.over
}

// answer says what would become of the answer.
func (s *shadowed) answer(in *filter.Instance, l *FilterLine) {
	if in.Response == nil && in.Fault == nil {
		return
	}
	s.x.UseSlot(s.next)
	a, ok := in.Filter.(filter.AnswerAccounter)
	if !ok {
		l.OnAnswer = "it sees the answer"
		return
	}
	_ = guarded(func() { l.OnAnswer = a.AccountAnswer(s.x) })
}

// depends reports whether what in says of x rests on who is calling, and that is
// not known because somebody was not asked.
func (s *shadowed) depends(in *filter.Instance) (on bool) {
	c, ok := in.Filter.(filter.CallerFilter)
	if !ok || len(s.unsure) == 0 {
		return false
	}
	if failed := guarded(func() { on = c.DependsOnCaller(s.x) }); failed != "" {
		return true
	}
	return on
}

func (s *shadowed) run(in *filter.Instance, l *FilterLine) {
	x := s.x
	before := look(x)
	x.UseSlot(s.next)
	depends := s.depends(in)
	x.Unasked = ""
	// What waits would ask somebody. Shadow should keep it from that; here is
	// where it is kept from it.
	x.Waiter = func(context.Context, func(context.Context) error) error {
		if x.Unasked == "" {
			x.Unasked = "what it would have to wait for"
		}
		return errShadow
	}
	var v filter.Verdict
	if failed := guarded(func() { v = in.Request.OnRequest(x) }); failed != "" {
		l.Verdict, l.Status, l.Code, l.Why = Failed, 500, "panic", failed
		s.end("refused", l)
		return
	}
	if a, ok := in.Filter.(filter.Accounter); ok && !depends {
		_ = guarded(func() { l.Inputs = a.Account(x) })
	}
	l.Changes = before.changes(x)
	switch f := v.Fault(); {
	case depends:
		l.Verdict, l.Why = Depends, "depends on what is said of the caller by "+strings.Join(s.unsure, " and ")
		s.e.Assumed = append(s.e.Assumed, in.Kind)
	case x.Unasked != "":
		l.Verdict, l.Why = NotAsked, x.Unasked
		s.e.Assumed = append(s.e.Assumed, in.Kind)
		if identifies(in.Filter) {
			s.unsure = append(s.unsure, in.Kind)
		}
	case f != nil:
		l.Verdict, l.Status, l.Code, l.Why = Refuse, f.Status, f.Code, f.Title
		if f.Detail != "" {
			l.Why += ": " + f.Detail
		}
		if f.Err != nil { // which clients are not told
			l.Why += " (" + f.Err.Error() + ")"
		}
		s.end("refused", l)
	case v.Answered():
		l.Verdict, l.Status = Answer, x.Response.Status
		s.end("answered", l)
	default:
		l.Verdict = Pass
	}
}

func identifies(f any) bool {
	switch f.(type) {
	case filter.Authenticator, filter.Identifier:
		return true
	}
	return false
}

// end keeps what ended the request.
func (s *shadowed) end(action string, l *FilterLine) {
	s.over = true
	s.e.Action, s.e.Status, s.e.Code, s.e.Problem = action, l.Status, l.Code, l.Why
}

// guarded runs f and says what it panicked with, "" when it did not.
func guarded(f func()) (failed string) {
	defer func() {
		if v := recover(); v != nil {
			failed = fmt.Sprintf("it panicked: %v", v)
		}
	}()
	f()
	return ""
}

// seen is what a filter may change of a request.
type seen struct {
	method, authority, path, query string
	header                         []exchange.Field
	identity                       *exchange.Identity
	consumer                       string
}

func look(x *exchange.Exchange) seen {
	s := seen{method: x.Request.Method, authority: x.Request.Authority, path: x.Request.Path, query: x.Request.Query,
		identity: x.Identity, consumer: x.Consumer}
	for name, value := range x.Request.Header.All() {
		s.header = append(s.header, exchange.Field{Name: strings.Clone(name), Value: strings.Clone(value)})
	}
	return s
}

// changes lists what is different from before, in words.
func (s seen) changes(x *exchange.Exchange) []string {
	var out []string
	now := look(x)
	for _, c := range [...]struct{ what, before, after string }{
		{"method", s.method, now.method}, {"host", s.authority, now.authority}, {"path", s.path, now.path}, {"query", s.query, now.query},
	} {
		if c.before != c.after {
			out = append(out, fmt.Sprintf("changes the %s from %q to %q", c.what, c.before, c.after))
		}
	}
	gone, come := without(s.header, now.header), without(now.header, s.header)
	for _, f := range gone {
		out = append(out, "removes "+f.Name)
	}
	for _, f := range come {
		out = append(out, "sets "+f.Name+": "+shown(f))
	}
	if id := now.identity; id != nil && id != s.identity {
		line := fmt.Sprintf("the user is %s (by %s", id.Subject, id.Method)
		if id.Issuer != "" {
			line += ", issuer " + id.Issuer
		}
		if len(id.Roles) > 0 {
			line += ", roles " + strings.Join(id.Roles, " ")
		}
		if len(id.Scope) > 0 {
			line += ", scope " + strings.Join(id.Scope, " ")
		}
		out = append(out, line+")")
	}
	if now.consumer != s.consumer {
		out = append(out, "the consumer is "+now.consumer)
	}
	return out
}

// without lists the lines of a that b does not have, each as often as it is
// more.
func without(a, b []exchange.Field) []exchange.Field {
	left := map[exchange.Field]int{}
	for _, f := range b {
		left[f]++
	}
	var out []exchange.Field
	for _, f := range a {
		if left[f] > 0 {
			left[f]--
			continue
		}
		out = append(out, f)
	}
	return out
}

// telling are parts of names of header fields whose values are nobody's business.
var telling = []string{"auth", "cookie", "token", "key", "secret", "password", "credential", "signature", "assertion"}

// shown is a field's value, unless it may be a secret: those of the
// configuration must not be read from an explanation.
func shown(f exchange.Field) string {
	name := strings.ToLower(f.Name)
	for _, part := range telling {
		if strings.Contains(name, part) {
			return "(not shown)"
		}
	}
	return f.Value
}
