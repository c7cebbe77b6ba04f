package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Measures of the picture, in pixels.
const (
	svgLabel = 190 // where bars begin
	svgBars  = 470 // their room
	svgRight = 290 // for what is written behind them
	svgRow   = 30
	svgTop   = 74
)

// svg draws Lintel's ratio to the best peer, scenario by scenario.
func (r *Report) svg() string {
	type bar struct {
		name, text string
		ratio      spread
	}
	var bars []bar
	longest := 1.25
	for _, s := range r.Scenarios {
		best := s.best()
		q, ok := s.ratio(best)
		if !ok {
			continue
		}
		own, _ := s.lintel().over(s.Scenario.Metric.Value)
		other, _ := best.over(s.Scenario.Metric.Value)
		unit := strings.TrimPrefix(s.Scenario.Metric.Title, "CPU ")
		bars = append(bars, bar{s.Scenario.Name, fmt.Sprintf("%s: %s to %s %s", best.Contender.Name, figure(own.Median), figure(other.Median), unit), q})
		longest = max(longest, q.Max)
	}
	longest = min(longest, 4) // what is worse than that is written, not drawn
	x := func(v float64) float64 { return svgLabel + svgBars*min(v, longest)/longest }
	width, height := svgLabel+svgBars+svgRight, svgTop+svgRow*max(1, len(bars))+26
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t">
<title id="t">Lintel's cost as a share of the best peer's</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.head { font-size: 17px; font-weight: 600 }
.small { font-size: 11px; fill: #52606d }
.less { fill: #2a9d8f }
.more { fill: #e9a23b }
.line { stroke: #52606d; stroke-dasharray: 4 3 }
.range { stroke: #1f2933 }
</style>
<rect width="100%%" height="100%%" fill="#fff"/>
<text class="head" x="16" y="28">Lintel's cost as a share of the best peer's</text>
<text class="small" x="16" y="47">Shorter is cheaper. Bar: ratio of medians; whisker: single rounds. Measured in one run on one machine.</text>
`, width, height, width, height)
	if len(bars) == 0 {
		fmt.Fprintf(&b, "<text x=\"16\" y=\"%d\">Nothing was measured.</text>\n", svgTop+16)
	} else {
		fmt.Fprintf(&b, "<line class=\"line\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x(1), svgTop-8, x(1), height-22)
		fmt.Fprintf(&b, "<text class=\"small\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">the best peer = 1</text>\n", x(1), height-8)
	}
	for i, a := range bars {
		y := svgTop + i*svgRow
		class := "less"
		if a.ratio.Median > 1 {
			class = "more"
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", svgLabel-10, y+14, escape(a.name))
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"18\" rx=\"2\"/>\n", class, svgLabel, y, x(a.ratio.Median)-svgLabel)
		fmt.Fprintf(&b, "<line class=\"range\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x(a.ratio.Min), y+9, x(a.ratio.Max), y+9)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">%.2f <tspan class=\"small\">%s</tspan></text>\n", svgLabel+svgBars+10, y+14, a.ratio.Median, escape(a.text))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
