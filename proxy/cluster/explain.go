package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Term is one of the terms that an exchange is forwarded on, and what it means for
// this one.
type Term struct {
	Kind     string `json:"kind"`               // the key that sets it
	Service  string `json:"service,omitempty"`  // whose key that is; "" is the route's
	Pos      string `json:"position,omitempty"` // where that stands; "" when it is not given
	Verdict  string `json:"verdict"`
	Why      string `json:"why,omitempty"`
	Inputs   string `json:"inputs,omitempty"` // what of the exchange the verdict rests on
	Cases    []Case `json:"cases,omitempty"`  // of retries
	Settings string `json:"settings,omitempty"`
	Now      string `json:"now,omitempty"` // how it stands with that in a running Lintel
}

// Case is something that may come of an attempt, and whether there is another then.
type Case struct {
	After string `json:"after"`
	Again bool   `json:"again"`
	Why   string `json:"why,omitempty"` // not
}

// Asking is what an explanation is asked of.
type Asking struct {
	Live bool // what happens in this process is of interest
	Mesh bool // there may be Lintels further on
}

// Explain says on which terms x would be forwarded: by the questions that Forward
// asks, and without sending, counting or spending anything. The fault is what comes
// of x before anybody is asked.
func (c *Cluster) Explain(x *exchange.Exchange, o *Options, a Asking) ([]Term, *exchange.Fault) {
	first := c
	c = c.serving()
	r := &run{c: c, x: x, o: o}
	left, limited, fault := r.terms()
	if fault != nil {
		return nil, fault
	}
	terms := []Term{r.timeout(left, limited)}
	if limited && left <= 0 {
		return terms, overdueFault(c.cfg.Service)
	}
	r.foresee(true)
	terms = append(terms, r.retries(a.Mesh))
	if o.Hedge != nil {
		terms = append(terms, r.hedges(a.Live))
	}
	route := len(terms)
	if c.budget != nil && (o.Attempts > 0 || o.Hedge != nil) {
		terms = append(terms, c.budget.term(a.Live))
	}
	terms = append(append(terms, r.balanced(a.Live)), r.guards(a.Live)...)
	for i := range terms[route:] {
		terms[route+i].Service = c.cfg.Service
	}
	if first.tiers != nil {
		terms = append(terms, first.tiers.term(a.Live))
	}
	return terms, nil
}

// ExplainConnect is Explain of an opaque stream.
func (c *Cluster) ExplainConnect(o *Options, live bool) []Term {
	first := c
	c = c.serving()
	again := Case{After: "connect", Again: o.reconnects(0, upstream("connect-refused", true))}
	switch {
	case !o.OnConnect:
		again.Why = "retries.on does not name it"
	case !again.Again:
		again.Why = "no further attempts are configured"
	}
	terms := []Term{{Kind: "retries", Verdict: atMost(o.Attempts, again.Again), Settings: o.about(),
		Cases: []Case{again, {After: "reset", Why: "what has been sent of a stream cannot be sent again"}}}}
	balance := Term{Kind: "balance", Service: c.cfg.Service, Verdict: c.cfg.Balance}
	if c.cfg.Balance == "consistent_hash" {
		balance.Verdict += ": streams have no key, and go to any endpoint"
	}
	if live {
		balance.Now = c.endpoints()
	}
	terms = append(terms, balance)
	for _, t := range (&run{c: c}).guards(live) {
		switch t.Kind {
		case "concurrency", "fallback": // are for HTTP
		default:
			t.Service = c.cfg.Service
			terms = append(terms, t)
		}
	}
	if first.tiers != nil {
		terms = append(terms, first.tiers.term(live))
	}
	return terms
}

// foresee puts the run where it would be with an attempt in progress, as keepBody
// does, but without reading the body: sent says that the attempt has.
func (r *run) foresee(sent bool) keeping {
	k := r.keeping()
	r.replay, r.kept, r.upload = k == bodyNone || k == bodyRead, nil, nil
	if r.replay {
		return k
	}
	r.upload = &upload{}
	if sent {
		r.upload.state.Store(begun)
	}
	if k == bodyNoted {
		r.kept = &kept{limit: r.o.BufferBody}
		r.kept.ended.Store(sent && r.x.Request.Length <= r.o.BufferBody)
	}
	return k
}

// timeout says until when there must be an answer.
func (r *run) timeout(left time.Duration, limited bool) Term {
	t := Term{Kind: "timeout", Verdict: "an answer's head is waited for without limit"}
	switch {
	case limited && left <= 0:
		t.Verdict = "there is no time left"
	case limited:
		if left > 10*time.Millisecond {
			left = left.Round(time.Millisecond)
		}
		t.Verdict = "the answer's head must come within " + exchange.ShortDuration(left) + ", attempts and pauses included"
		if to := r.o.DeadlineTo; to != "" {
			t.Verdict += "; " + to + " tells the service"
		}
	}
	if r.hurried {
		t.Why = "the caller waits no longer"
		if r.o.Timeout > 0 {
			t.Settings = exchange.ShortDuration(r.o.Timeout)
		}
	}
	return t
}

// hedges says whether there may be a second attempt beside one in progress.
func (r *run) hedges(live bool) Term {
	h, method := r.o.Hedge, r.x.Request.Method
	late := exchange.ShortDuration(h.after)
	if h.usual != nil {
		late = fmt.Sprintf("p%s of the answers, %s at least", number(100*h.usual.q), exchange.ShortDuration(hedgeSoonest))
	}
	t := Term{Kind: "hedge", Settings: strings.Join(h.Methods, ", ") + " after " + late}
	switch r.single() {
	case 0:
	case otherMethod:
		t.Why = method + " is none of " + strings.Join(h.Methods, ", ")
	case otherProtocol:
		t.Why = "it asks for another protocol"
	case bodyStreams:
		t.Why = r.unkept(r.keeping())
	case isCopy:
		t.Why = "it is a copy"
	case hadSecond:
		t.Why = "there was a second attempt"
	}
	if t.Why != "" {
		t.Verdict = "not hedged"
		return t
	}
	t.Verdict = "sent to a second endpoint too if it has no answer after " + late
	if !live {
		return t
	}
	switch wait := h.wait(); {
	case wait == 0:
		t.Now = fmt.Sprintf("nothing is hedged yet: %d of %d answers are measured", h.usual.seen.Load(), quantileLearns)
	case !r.another():
		t.Now = "there is no second endpoint to ask"
	case h.usual != nil:
		t.Now = "after " + exchange.ShortDuration(wait.Round(10*time.Microsecond))
	}
	return t
}

// term says how many retries a service bears.
func (b *retryBudget) term(live bool) Term {
	t := Term{Kind: "retry_budget", Verdict: fmt.Sprintf("retries and hedges of all its requests are at most %s of the requests within %s, and %s besides; beyond, none is made",
		percent(b.ratio), exchange.ShortDuration(budgetSlots*b.step), number(b.reserve))}
	if live {
		b.mu.Lock()
		left := b.left(b.number(time.Now()))
		b.mu.Unlock()
		t.Now = fmt.Sprintf("%d are left; %d were made and %d were not for want of it so far", int(max(left, 0)), b.retries.Load(), b.exhausted.Load())
	}
	return t
}

// size writes a number of bytes.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n && n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

func percent(share float64) string { return number(100*share) + "%" }

func number(n float64) string { return strconv.FormatFloat(n, 'g', 4, 64) }
