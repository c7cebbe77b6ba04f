package route

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// does is a filter that is a function.
type does func(x *exchange.Exchange) filter.Verdict

func (f does) OnRequest(x *exchange.Exchange) filter.Verdict { return f(x) }

// tells is one that also explains itself.
type tells struct{ does }

func (tells) Explain() string                     { return "its settings" }
func (tells) Account(x *exchange.Exchange) string { return "saw " + x.Request.Header.Get("X-In") }
func (tells) OnResponse(*exchange.Exchange)       {}

// answers does nothing to requests.
type answers struct{}

func (answers) OnResponse(*exchange.Exchange) {}

func explained(t *testing.T, always []filter.Instance, filters ...any) Explanation {
	t.Helper()
	r := Route{Name: "r", Pos: "f:1", Match: Match{Path: "/a/{id}"}, Respond: &Respond{Status: 204}}
	for _, f := range filters {
		in, err := filter.Bind("kind", "f:2", f)
		if err != nil {
			t.Fatal(err)
		}
		in.Policy = "chain"
		r.Filters = append(r.Filters, in)
	}
	table, err := Compile(Spec{Always: always, Routes: []Route{r}})
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange.Exchange{}
	x.Request.Method, x.Request.Authority, x.Request.Path = "GET", "a.example", "/a/7"
	x.Request.Header.Add("X-In", "1")
	x.Request.Header.Add("Authorization", "Bearer secret")
	return table.Explain(x, Asking{Path: Strict})
}

func TestExplainTellsEveryVerdict(t *testing.T) {
	pass := does(func(*exchange.Exchange) filter.Verdict { return filter.Next })
	for name, c := range map[string]struct {
		f      any
		want   FilterLine // Kind, Pos and Policy are added
		action string
	}{
		"passes": {pass, FilterLine{Verdict: Pass}, "respond"},
		"refuses": {does(func(*exchange.Exchange) filter.Verdict {
			return filter.Refuse(&exchange.Fault{Status: 403, Code: "no", Title: "No", Detail: "not you"})
		}), FilterLine{Verdict: Refuse, Status: 403, Code: "no", Why: "No: not you"}, "refused"},
		"answers": {does(func(x *exchange.Exchange) filter.Verdict {
			x.Answer(200, "", nil)
			return filter.Answered
		}), FilterLine{Verdict: Answer, Status: 200}, "answered"},
		"says that it was not asked": {does(func(x *exchange.Exchange) filter.Verdict {
			x.NotAsked("the counters")
			return filter.Next
		}), FilterLine{Verdict: NotAsked, Why: "the counters"}, "respond"},
		"would wait, and refuses because it may not": {does(func(x *exchange.Exchange) filter.Verdict {
			if x.Await(func(context.Context) error { t.Error("it was let wait"); return nil }) != nil {
				return filter.Refuse(&exchange.Fault{Status: 503})
			}
			return filter.Next
		}), FilterLine{Verdict: NotAsked, Why: "what it would have to wait for"}, "respond"},
		"panics": {does(func(*exchange.Exchange) filter.Verdict { panic("oh") }),
			FilterLine{Verdict: Failed, Status: 500, Code: "panic", Why: "it panicked: oh"}, "refused"},
		"explains itself": {tells{pass}, FilterLine{Verdict: Pass, Settings: "its settings", Inputs: "saw 1", OnAnswer: "it sees the answer"}, "respond"},
		"is for answers":  {answers{}, FilterLine{Verdict: OnAnswers, OnAnswer: "it sees the answer"}, "respond"},
		"changes": {does(func(x *exchange.Exchange) filter.Verdict {
			x.Request.Header.Del("Authorization")
			x.Request.Header.Set("X-In", "2")
			x.Request.Header.Set("X-Upstream-Key", "s3cret")
			x.Request.Path = "/b"
			x.Identity = &exchange.Identity{Method: "jwt", Subject: "ada", Roles: []string{"admin"}}
			x.Consumer = "mobile"
			return filter.Next
		}), FilterLine{Verdict: Pass, Changes: []string{`changes the path from "/a/7" to "/b"`, "removes X-In", "removes Authorization",
			"sets X-In: 2", "sets X-Upstream-Key: (not shown)", "the user is ada (by jwt, roles admin)", "the consumer is mobile"}}, "respond"},
	} {
		c.want.Kind, c.want.Pos, c.want.Policy = "kind", "f:2", "chain"
		e := explained(t, nil, c.f, pass)
		if len(e.Filters) != 2 || !reflect.DeepEqual(e.Filters[0], c.want) {
			t.Errorf("a filter that %s:\n%+v, want\n%+v", name, e.Filters[0], c.want)
		}
		next := Pass
		if c.action != "respond" {
			next = NotReached
		}
		if e.Filters[1].Verdict != next || e.Action != c.action || e.Route != "r" {
			t.Errorf("after one that %s: the next %s, action %s, route %s", name, e.Filters[1].Verdict, e.Action, e.Route)
		}
		if (c.want.Verdict == NotAsked) != (len(e.Assumed) == 1) {
			t.Errorf("a filter that %s: assumed %v", name, e.Assumed)
		}
	}
}

func TestExplainNeverShowsTheClientsCredential(t *testing.T) {
	e := explained(t, nil, does(func(x *exchange.Exchange) filter.Verdict {
		x.Request.Header.Set("Authorization", "Basic c2VjcmV0")
		return filter.Next
	}))
	if all := strings.Join(e.Filters[0].Changes, " "); strings.Contains(all, "secret") || strings.Contains(all, "c2Vj") {
		t.Error(all)
	}
}

func TestExplainStopsWhereAFilterBeforeRoutingRefuses(t *testing.T) {
	in, err := filter.Bind("first", "f:0", does(func(*exchange.Exchange) filter.Verdict {
		return filter.Refuse(&exchange.Fault{Status: 403, Code: "no", Title: "No"})
	}))
	if err != nil {
		t.Fatal(err)
	}
	e := explained(t, []filter.Instance{in}, answers{})
	if e.Action != "refused" || e.Status != 403 || e.Code != "no" || e.Route != "" || len(e.Filters) != 1 {
		t.Errorf("%+v", e)
	}
}

// authorizer asks somebody who is calling.
type authorizer struct{ does }

func (authorizer) Identifies() {}

// caller rests on who is calling.
type caller struct{ does }

func (caller) DependsOnCaller(*exchange.Exchange) bool { return true }
func (caller) Account(*exchange.Exchange) string       { return "nobody" }

func TestExplainDoesNotJudgeForNobody(t *testing.T) {
	refuses := func(x *exchange.Exchange) filter.Verdict {
		return filter.Refuse(&exchange.Fault{Status: 403, Code: "no"})
	}
	asks := authorizer{func(x *exchange.Exchange) filter.Verdict {
		x.NotAsked("the authorizer")
		return filter.Next
	}}
	e := explained(t, nil, asks, caller{refuses}, does(func(*exchange.Exchange) filter.Verdict { return filter.Next }))
	if l := e.Filters[1]; l.Verdict != Depends || l.Why != "depends on what is said of the caller by kind" || l.Inputs != "" || l.Code != "" {
		t.Errorf("%+v", l)
	}
	if e.Filters[2].Verdict != Pass || e.Action != "respond" || len(e.Assumed) != 2 {
		t.Errorf("%+v", e)
	}
	// When nobody was left unasked, it is judged.
	if e := explained(t, nil, caller{refuses}); e.Action != "refused" || e.Filters[0].Inputs != "nobody" {
		t.Errorf("%+v", e)
	}
}
