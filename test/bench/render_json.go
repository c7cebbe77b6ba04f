package main

import (
	"encoding/json"
	"math"
)

// row is a scenario in JSON. What was not measured is null, never 0.
type row struct {
	Name          string         `json:"name"`
	Title         string         `json:"title"`
	Metric        string         `json:"metric"` // what ratio compares
	Measured      bool           `json:"measured"`
	Reason        string         `json:"reason,omitempty"`
	LintelCPU     *float64       `json:"lintel_cpu_us"`
	BestPeer      *string        `json:"best_peer"`
	BestPeerCPU   *float64       `json:"best_peer_cpu_us"`
	Ratio         *float64       `json:"ratio"`
	RatioMin      *float64       `json:"ratio_min"`
	RatioMax      *float64       `json:"ratio_max"`
	Target        string         `json:"target"`
	RPS           *float64       `json:"rps"`
	P50           *float64       `json:"p50_ms"`
	P99           *float64       `json:"p99_ms"`
	AddedP50      *float64       `json:"added_p50_ms"`
	AddedP99      *float64       `json:"added_p99_ms"`
	Failed        int64          `json:"failed"`
	InvalidRounds int            `json:"invalid_rounds"`
	Rounds        int            `json:"rounds"`
	RSS           *float64       `json:"rss_mb"`
	IdleKB        *float64       `json:"idle_kb"`
	Notes         []string       `json:"notes,omitempty"`
	Contenders    []contenderRow `json:"contenders"`
}

// contenderRow is min, median and max of one contender; ratio is Lintel's to it.
type contenderRow struct {
	Name          string  `json:"name"`
	Compared      bool    `json:"compared"`
	Reason        string  `json:"reason,omitempty"`
	CPU           *spread `json:"cpu_us"`
	RPS           *spread `json:"rps"`
	P50           *spread `json:"p50_ms"`
	P99           *spread `json:"p99_ms"`
	AddedP50      *spread `json:"added_p50_ms"`
	AddedP99      *spread `json:"added_p99_ms"`
	RSS           *spread `json:"rss_mb"`
	IdleKB        *spread `json:"idle_kb"`
	Ratio         *spread `json:"lintel_ratio"`
	Failed        int64   `json:"failed"`
	InvalidRounds int     `json:"invalid_rounds"`
	Rounds        int     `json:"rounds"`
}

func (r *Report) json() ([]byte, error) {
	rows := make([]row, 0, len(r.Scenarios))
	for _, s := range r.Scenarios {
		rows = append(rows, s.row())
	}
	b, err := json.MarshalIndent(map[string]any{"scenarios": rows}, "", "  ")
	return append(b, '\n'), err
}

func (r *Result) row() row {
	out := row{Name: r.Scenario.Name, Title: r.Scenario.Title, Metric: r.Scenario.Metric.Name, Target: r.Scenario.Target,
		Reason: r.reason(), Notes: r.notes(), Contenders: []contenderRow{}}
	out.Measured = out.Reason == ""
	best := r.best()
	for i, o := range r.Outcomes {
		c := o.row()
		if s, ok := r.ratio(o); ok && i > 0 {
			c.Ratio = s.rounded()
		}
		c.Compared = i > 0 && !o.Contender.Aside
		out.Contenders = append(out.Contenders, c)
		switch {
		case i == 0:
			out.LintelCPU, out.RPS, out.P50, out.P99 = c.CPU.middle(), c.RPS.middle(), c.P50.middle(), c.P99.middle()
			out.AddedP50, out.AddedP99, out.RSS, out.IdleKB = c.AddedP50.middle(), c.AddedP99.middle(), c.RSS.middle(), c.IdleKB.middle()
			out.Failed, out.InvalidRounds, out.Rounds = c.Failed, c.InvalidRounds, c.Rounds
		case o == best:
			out.BestPeer, out.BestPeerCPU = &c.Name, c.CPU.middle()
			if c.Ratio != nil {
				out.Ratio, out.RatioMin, out.RatioMax = &c.Ratio.Median, &c.Ratio.Min, &c.Ratio.Max
			}
		}
	}
	return out
}

func (o *Outcome) row() contenderRow {
	c := contenderRow{Name: o.Contender.Name, Reason: o.Reason, Rounds: len(o.Rounds)}
	c.Failed, c.InvalidRounds = o.failed()
	some := func(v func(Round) float64) *spread {
		s, ok := o.over(func(r Round) (float64, bool) { return v(r), true })
		if !ok {
			return nil
		}
		return s.rounded()
	}
	if s, ok := o.cpu(); ok {
		c.CPU = s.rounded()
	}
	c.RPS, c.P50, c.P99 = some(func(r Round) float64 { return r.RPS }), some(func(r Round) float64 { return r.P50 }), some(func(r Round) float64 { return r.P99 })
	if len(o.Contender.Hops) > 0 {
		c.RSS = some(func(r Round) float64 { return r.RSS })
	}
	for _, r := range o.Rounds {
		if r.IdleKB != 0 {
			c.IdleKB = some(func(r Round) float64 { return r.IdleKB })
		}
		if r.Added {
			c.AddedP50, c.AddedP99 = some(func(r Round) float64 { return r.AddedP50 }), some(func(r Round) float64 { return r.AddedP99 })
		}
	}
	return c
}

func (s *spread) middle() *float64 {
	if s == nil {
		return nil
	}
	return &s.Median
}

// rounded keeps what is worth reading.
func (s spread) rounded() *spread {
	round := func(v float64) float64 { return math.Round(v*10000) / 10000 }
	return &spread{round(s.Min), round(s.Median), round(s.Max)}
}
