package main

import (
	"fmt"
	"strconv"
	"strings"
)

// markdown is two tables: Lintel beside the best peer, then everybody's figures.
func (r *Report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Made by `%s` on %s.\n\n", r.Command, r.Machine)
	b.WriteString("The ratio is Lintel's median to that of the best peer of this run, with the least and the greatest of single rounds; " +
		"below 1 Lintel needs less. CPU time is user and system time of all processes of a contender per answered request.\n\n")
	b.WriteString("| scenario | compared by | Lintel | best peer | ratio | target | requests/s | p50 ms | p99 ms | failed |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		b.WriteString(s.summary())
	}
	b.WriteString("\nEach contender, as least / median / greatest of its rounds:\n\n" +
		"| scenario | contender | CPU µs/request | requests/s | p50 ms | p99 ms | added p50 / p99 ms | RSS MB | KB per idle connection | failed | Lintel's ratio to it |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		for i, o := range s.Outcomes {
			b.WriteString(s.detail(i, o))
		}
	}
	var notes strings.Builder
	for _, s := range r.Scenarios {
		for _, n := range s.notes() {
			fmt.Fprintf(&notes, "- %s: %s\n", s.Scenario.Name, n)
		}
	}
	if notes.Len() > 0 {
		b.WriteString("\nNotes:\n\n" + notes.String())
	}
	return b.String()
}

func (r *Result) summary() string {
	row := r.row()
	if !row.Measured {
		return fmt.Sprintf("| %s | %s | not measured: %s | | | %s | | | | %d |\n", row.Name, r.Scenario.Metric.Title, cell(row.Reason), row.Target, row.Failed)
	}
	own, _ := r.lintel().over(r.Scenario.Metric.Value)
	peer, ratio := "none", ""
	if best := r.best(); best != nil {
		s, _ := best.over(r.Scenario.Metric.Value)
		peer = fmt.Sprintf("%s %s", best.Contender.Name, figure(s.Median))
		if q, ok := r.ratio(best); ok {
			ratio = fmt.Sprintf("**%.2f** (%.2f-%.2f)", q.Median, q.Min, q.Max)
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", row.Name, r.Scenario.Metric.Title, figure(own.Median), peer, ratio, row.Target,
		optional(row.RPS), optional(row.P50), optional(row.P99), row.Failed)
}

func (r *Result) detail(i int, o *Outcome) string {
	c := o.row()
	name := c.Name
	if o.Contender.Aside {
		name += " (not compared)"
	}
	if c.Reason != "" && c.Rounds == 0 {
		return fmt.Sprintf("| %s | %s | not measured: %s | | | | | | | | |\n", r.Scenario.Name, name, cell(c.Reason))
	}
	ratio := ""
	if q, ok := r.ratio(o); ok && i > 0 {
		ratio = fmt.Sprintf("%.2f", q.Median)
	}
	added := ""
	if c.AddedP50 != nil && c.AddedP99 != nil {
		added = figure(c.AddedP50.Median) + " / " + figure(c.AddedP99.Median)
	}
	failed := strconv.FormatInt(c.Failed, 10)
	if c.InvalidRounds > 0 {
		failed += fmt.Sprintf(" (%d of %d rounds do not count)", c.InvalidRounds, c.Rounds)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Scenario.Name, name,
		three(c.CPU), three(c.RPS), three(c.P50), three(c.P99), added, optional(c.RSS.middle()), three(c.IdleKB), failed, ratio)
}

// figure shows three significant digits or so, and never an exponent.
func figure(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 1 || v <= -1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return figure(*v)
}

func three(s *spread) string {
	if s == nil {
		return ""
	}
	return figure(s.Min) + " / " + figure(s.Median) + " / " + figure(s.Max)
}

// cell makes a text fit into one cell of a table.
func cell(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return strings.ReplaceAll(first, "|", "\\|")
}
