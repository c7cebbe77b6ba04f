package authorize

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"cel.dev/cel-go/common/types/traits"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Filter decides by expressions.
type Filter struct {
	rules []denial
	allow *denial                  // nil: what no rule denies passes
	tags  map[string]traits.Mapper // of consumers, by name
	now   func() time.Time
}

// denial is an expression and what follows from it.
type denial struct {
	*expression
	Deny
}

// OnRequest refuses what a rule is true for, what allow is not true for, and what
// cannot be told.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if fault, _ := f.judge(x); fault != nil {
		return filter.Refuse(fault)
	}
	return filter.Next
}

// judge returns the refusal, and which expression it is by.
func (f *Filter) judge(x *exchange.Exchange) (*exchange.Fault, string) {
	v := pool.Get().(*facts)
	v.f, v.x = f, x
	defer func() {
		*v = facts{} // nothing of x may be kept
		pool.Put(v)
	}()
	return f.decide(v)
}

func (f *Filter) decide(v *facts) (*exchange.Fault, string) {
	for i := range f.rules {
		r := &f.rules[i]
		denied, err := r.judge(v)
		if err != nil {
			return failed(err), fmt.Sprintf("rules[%d]", i)
		}
		if denied {
			return r.fault(), fmt.Sprintf("rules[%d]", i)
		}
	}
	if f.allow != nil {
		allowed, err := f.allow.judge(v)
		if err != nil {
			return failed(err), "allow"
		}
		if !allowed {
			return f.allow.fault(), "allow"
		}
	}
	return nil, ""
}

func (d *denial) fault() *exchange.Fault {
	fault := &exchange.Fault{Source: exchange.FromPolicy, Status: d.Status, Code: d.Code, Title: d.Title,
		Detail: "a rule for this route does not allow the request", Proxy: "http_request_denied"}
	if d.Status == http.StatusUnauthorized {
		fault.Header = []exchange.Field{{Name: "WWW-Authenticate", Value: "Bearer"}}
	}
	return fault
}

// failed denies what cannot be told. The client learns nothing of the rule.
func failed(err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "authorize-failed", Title: "Not permitted",
		Detail: "a rule for this route cannot be evaluated for the request", Proxy: "http_request_denied", Err: fmt.Errorf("authorize: %w", err)}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var parts []string
	for _, r := range f.rules {
		parts = append(parts, fmt.Sprintf("%d %s when %s (cost %s)", r.Status, r.Code, r.text, r.cost))
	}
	if f.allow != nil {
		parts = append(parts, fmt.Sprintf("allow %s (cost %s), else %d %s", f.allow.text, f.allow.cost, f.allow.Status, f.allow.Code))
	}
	return strings.Join(parts, "; ")
}

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	fault, by := f.judge(x)
	if fault == nil {
		return "passes"
	}
	s := fmt.Sprintf("refused by %s: %d %s", by, fault.Status, fault.Code)
	if fault.Err != nil {
		s += ": " + strings.TrimPrefix(fault.Err.Error(), "authorize: ")
	}
	return s
}

// DependsOnCaller implements filter.CallerFilter: whether who calls was asked for
// on the way to the verdict.
func (f *Filter) DependsOnCaller(x *exchange.Exchange) bool {
	v := &facts{f: f, x: x}
	_, _ = f.decide(v)
	return v.caller
}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}
