package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// measure runs one scenario. What goes wrong is part of the result.
func (b *Bench) measure(s *Scenario) *Result {
	b.say("%s: %s", s.Name, s.Title)
	res := &Result{Scenario: s}
	if missing := b.tools.missing(s.Tools); len(missing) > 0 {
		res.Reason = strings.Join(missing, " and ") + " is not installed"
		b.say("  not measured: %s", res.Reason)
		return res
	}
	if s.Prepare != nil {
		cleanup, err := s.Prepare(b)
		if err != nil {
			res.Reason = err.Error()
			b.say("  not measured: %v", err)
			return res
		}
		defer cleanup()
	}
	var all []*entrant
	for _, c := range s.Contenders {
		e := &entrant{outcome: &Outcome{Contender: c}}
		res.Outcomes = append(res.Outcomes, e.outcome)
		if !b.installed(c) {
			e.outcome.Reason = "not installed"
			continue
		}
		all = append(all, e)
	}
	defer func() {
		for _, e := range all {
			e.leave()
		}
	}()
	for round := range b.opts.rounds {
		for i := range all {
			e := all[(i+round)%len(all)]
			if e.outcome.Reason != "" {
				continue
			}
			if b.ctx.Err() != nil {
				return res
			}
			r, err := b.turn(s, e, round)
			if err != nil {
				e.outcome.Reason = err.Error()
				e.leave()
				b.say("  %s: not measured: %v", e.outcome.Contender.Name, err)
				continue
			}
			e.outcome.Rounds = append(e.outcome.Rounds, r)
			b.say("  round %d, %s: %s", round+1, e.outcome.Contender.Name, r)
		}
		subtractDirect(res.Outcomes, round)
	}
	return res
}

// entrant is a contender that takes part, running or not.
type entrant struct {
	outcome *Outcome
	running *Running
}

func (e *entrant) leave() {
	if e.running != nil {
		e.running.end()
		e.running = nil
	}
}

func (b *Bench) installed(c Contender) bool {
	return !slices.ContainsFunc(c.Hops, func(h Hop) bool { _, ok := b.tools[h.Program.Tool]; return !ok })
}

// turn puts one contender under load, once.
func (b *Bench) turn(s *Scenario, e *entrant, round int) (Round, error) {
	if s.Fresh {
		e.leave()
	}
	if e.running == nil {
		r, err := b.start(s, e.outcome.Contender, round)
		if err != nil {
			return Round{}, err
		}
		e.running = r
		warm := s.Load
		if s.Warm != nil {
			warm = s.Warm
		}
		err = patiently(Turn{e.running, 1, round}, func(t Turn) error {
			_, err := warm(b.ctx, b, t)
			return err
		})
		if err != nil {
			return Round{}, fmt.Errorf("warming up: %w%s", err, r.complaints())
		}
	}
	var done Round
	err := patiently(Turn{e.running, b.opts.seconds, round}, func(t Turn) (err error) {
		done, err = b.account(s, t)
		return err
	})
	if err != nil {
		return done, fmt.Errorf("%w%s", err, e.running.complaints())
	}
	return done, nil
}

// errNoAnswers is a turn in which nothing was answered and nothing failed: on a
// machine that is busy elsewhere it was too short.
var errNoAnswers = errors.New("not one request was answered in time")

// unanswered is an error when there is nothing to divide by.
func (l Load) unanswered(tool string) error {
	switch {
	case l.Requests > 0 && l.Elapsed > 0:
		return nil
	case l.Failed > 0:
		return fmt.Errorf("%s: all requests failed: %s", tool, l.Why)
	}
	return fmt.Errorf("%s: %w", tool, errNoAnswers)
}

// patiently does it again, for longer, when there were no answers at all.
func patiently(t Turn, do func(Turn) error) error {
	err := do(t)
	for range 2 {
		if !errors.Is(err, errNoAnswers) {
			break
		}
		t.Seconds *= 3
		err = do(t)
	}
	return err
}

// account is one turn with what it cost.
func (b *Bench) account(s *Scenario, t Turn) (Round, error) {
	run := t.Running
	run.forget()
	before, err := run.cpu()
	if err != nil {
		return Round{}, err
	}
	l, err := s.Load(b.ctx, b, t)
	if err != nil {
		return Round{}, err
	}
	after, err := run.cpu()
	if err != nil {
		return Round{}, err
	}
	rss, err := run.rss()
	if err != nil {
		return Round{}, err
	}
	if err := l.unanswered("load"); err != nil {
		return Round{}, err
	}
	perRequest := float64((after - before).Microseconds()) / float64(l.Requests)
	if l.Shared {
		perRequest = 0
	}
	return Round{CPU: perRequest,
		RPS: float64(l.Requests) / l.Elapsed.Seconds(),
		P50: millis(l.P50), P99: millis(l.P99), Failed: l.Failed, Why: l.Why,
		RSS: float64(rss) / (1 << 20), IdleKB: l.IdleKB, Beside: l.Beside, Note: l.Note}, nil
}

// subtractDirect turns latencies into what a contender adds to the backend's
// own, in scenarios that ask the backend directly as well.
func subtractDirect(all []*Outcome, round int) {
	i := slices.IndexFunc(all, func(o *Outcome) bool { return o.Contender.Name == "direct" })
	if i < 0 || len(all[i].Rounds) <= round {
		return
	}
	direct := all[i].Rounds[round]
	for k, o := range all {
		if k == i || len(o.Rounds) <= round || !direct.valid() {
			continue
		}
		r := &o.Rounds[round]
		r.AddedP50, r.AddedP99, r.Added = r.P50-direct.P50, r.P99-direct.P99, true
	}
}

func (r Round) String() string {
	s := fmt.Sprintf("%.0f requests/s, p50 %.2f ms, p99 %.2f ms, %.0f MB", r.RPS, r.P50, r.P99, r.RSS)
	if r.CPU != 0 {
		s = fmt.Sprintf("%.1f µs/request, %s", r.CPU, s)
	}
	if r.Beside != 0 {
		s += fmt.Sprintf(", p99 %.2f times that alone", r.Beside)
	}
	if r.IdleKB != 0 {
		s += fmt.Sprintf(", %.1f KB per idle connection", r.IdleKB)
	}
	if r.Note != "" {
		s += ", " + r.Note
	}
	if !r.valid() {
		s += fmt.Sprintf("; INVALID, %d failed: %s", r.Failed, r.Why)
	}
	return s
}
