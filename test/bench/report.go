package main

import (
	"fmt"
	"math"
	"strings"
)

// Report is everything a run found out.
type Report struct {
	Machine   string
	Command   string
	Scenarios []*Result
}

// Result is what one scenario found out. Lintel's outcome is the first.
type Result struct {
	Scenario *Scenario
	Outcomes []*Outcome
	Reason   string // why the whole was not measured
}

// Outcome is one contender's part in it.
type Outcome struct {
	Contender Contender
	Rounds    []Round // all of them, valid or not
	Reason    string  // why there are none, or no more
}

// over collects one value of the valid rounds.
func (o *Outcome) over(value func(Round) (float64, bool)) (spread, bool) {
	var values []float64
	for _, r := range o.Rounds {
		if v, ok := value(r); ok && r.valid() {
			values = append(values, v)
		}
	}
	return spreadOf(values)
}

func (o *Outcome) cpu() (spread, bool) { return o.over(cpuPerRequest.Value) }

// failed counts failed requests and rounds that did not count.
func (o *Outcome) failed() (requests int64, rounds int) {
	for _, r := range o.Rounds {
		requests += r.Failed
		if !r.valid() {
			rounds++
		}
	}
	return requests, rounds
}

// why says what was wrong, of a contender without a single valid round.
func (o *Outcome) why() string {
	if o.Reason != "" {
		return o.Reason
	}
	for _, r := range o.Rounds {
		if !r.valid() {
			return fmt.Sprintf("no valid round: %d requests failed (%s)", r.Failed, r.Why)
		}
	}
	return "no round gave a figure"
}

// lintel is nil when the scenario did not get that far.
func (r *Result) lintel() *Outcome {
	if len(r.Outcomes) == 0 {
		return nil
	}
	return r.Outcomes[0]
}

// reason says why there is no figure for Lintel; empty when there is one.
func (r *Result) reason() string {
	if r.Reason != "" {
		return r.Reason
	}
	l := r.lintel()
	if l == nil {
		return "the run was interrupted"
	}
	if _, ok := l.over(r.Scenario.Metric.Value); !ok {
		return l.why()
	}
	return ""
}

// best is the peer with the least median, of those compared with; nil without one.
func (r *Result) best() *Outcome {
	var best *Outcome
	least := math.Inf(1)
	for i, o := range r.Outcomes {
		if i == 0 || o.Contender.Aside {
			continue
		}
		if s, ok := o.over(r.Scenario.Metric.Value); ok && s.Median < least {
			best, least = o, s.Median
		}
	}
	return best
}

// ratio is Lintel's median to a peer's; least and greatest are those of single
// rounds, in which both had their turn within seconds.
func (r *Result) ratio(peer *Outcome) (spread, bool) {
	l := r.lintel()
	if l == nil || peer == nil {
		return spread{}, false
	}
	own, ok := l.over(r.Scenario.Metric.Value)
	others, also := peer.over(r.Scenario.Metric.Value)
	if !ok || !also || own.Median <= 0 || others.Median <= 0 { // less than nothing is noise
		return spread{}, false
	}
	s := spread{own.Median / others.Median, own.Median / others.Median, own.Median / others.Median}
	for i := range min(len(l.Rounds), len(peer.Rounds)) {
		a, okA := r.Scenario.Metric.Value(l.Rounds[i])
		b, okB := r.Scenario.Metric.Value(peer.Rounds[i])
		if okA && okB && l.Rounds[i].valid() && peer.Rounds[i].valid() && a > 0 && b > 0 {
			s.Min, s.Max = min(s.Min, a/b), max(s.Max, a/b)
		}
	}
	return s, true
}

// notes are what Lintel's rounds had to tell.
func (r *Result) notes() []string {
	var all []string
	if l := r.lintel(); l != nil {
		for _, round := range l.Rounds {
			if round.Note != "" {
				all = append(all, round.Note)
			}
		}
	}
	return all
}

// shortcomings is what makes the command fail, as one line.
func (r *Report) shortcomings() string {
	var bad []string
	for _, s := range r.Scenarios {
		if why := s.reason(); why != "" {
			first, _, _ := strings.Cut(why, "\n")
			bad = append(bad, fmt.Sprintf("%s: not measured (%s)", s.Scenario.Name, first))
		} else if n, rounds := s.lintel().failed(); rounds > 0 {
			bad = append(bad, fmt.Sprintf("%s: %d of Lintel's requests failed, and %d rounds do not count", s.Scenario.Name, n, rounds))
		}
	}
	return strings.Join(bad, "; ")
}
