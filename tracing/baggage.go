package tracing

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Limits of W3C Baggage, section 3.3.2: what everyone carries on at least is
// what Lintel carries on at most.
const (
	headerBaggage  = "baggage"
	baggageBytes   = 8192
	baggageMembers = 64
)

// limitBaggage cuts the baggage lines to the limits, whole members at a time.
// Within them nothing is touched.
func limitBaggage(h *exchange.Fields) {
	lines, bytes, members := 0, 0, 0
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, headerBaggage) {
			lines++
			bytes += len(f.Value) + 1
			members += 1 + strings.Count(f.Value, ",")
		}
	}
	if lines == 0 || bytes-1 <= baggageBytes && members <= baggageMembers {
		return
	}
	var kept strings.Builder
	n := 0
	for value := range h.Values(headerBaggage) {
		for m := range strings.SplitSeq(value, ",") {
			m = strings.Trim(m, " \t")
			if m == "" {
				continue
			}
			// A member that does not fit is skipped; a later, shorter one may.
			if n < baggageMembers && kept.Len()+1+len(m) <= baggageBytes {
				if n > 0 {
					kept.WriteByte(',')
				}
				kept.WriteString(m)
				n++
			}
		}
	}
	if n == 0 {
		h.Del(headerBaggage)
		return
	}
	h.Set(headerBaggage, kept.String())
}
