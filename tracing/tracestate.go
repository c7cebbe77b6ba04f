package tracing

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Limits of W3C Trace Context, section 3.3.1: members of a list, and bytes of
// the combined value that everyone carries on.
const (
	stateMembers  = 32
	stateBytes    = 512
	stateLong     = 128 // members longer than this go first when there are too many bytes
	memoryKey     = "lintel"
	memoryMaxSize = 64
)

// state is what a request's tracestate lines say.
type state struct {
	carried string // valid members, joined; a view of the header when nothing had to change
	memory  string // the value of the member "lintel"
}

// readState combines the tracestate lines in order, drops members that are
// invalid, repeat a key or go past the limits, and takes the member "lintel"
// out. It allocates only when the result is not one line as it came.
func readState(h *exchange.Fields) state {
	var (
		members [stateMembers]string
		n       int
		lines   int
		intact  = true // the only line may be carried on as it is
		line    string
		out     state
	)
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, headerState) {
			continue
		}
		lines++
		line = f.Value
		for rest, more := f.Value, true; more; {
			var raw string
			raw, rest, more = strings.Cut(rest, ",")
			m := strings.Trim(raw, " \t")
			if len(m) != len(raw) {
				intact = false
			}
			key, value, ok := cutMember(m)
			switch {
			case !ok:
				intact = false
			case key == memoryKey:
				intact = false
				if out.memory == "" && len(value) <= memoryMaxSize {
					out.memory = value
				}
			case n == stateMembers || repeats(members[:n], key):
				intact = false
			default:
				members[n] = m
				n++
			}
		}
	}
	if lines == 1 && intact && len(line) <= stateBytes {
		out.carried = line
		return out
	}
	n = fit(members[:n], stateBytes)
	out.carried = strings.Join(members[:n], ",")
	return out
}

// cutMember splits a list member and checks it against the grammar of level 2,
// section 3.3.1.3: key and value of at most 256 characters, the value printable
// without comma and equals sign. White space around m is gone already.
func cutMember(m string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(m, "=")
	if !ok || key == "" || len(key) > 256 || value == "" || len(value) > 256 {
		return "", "", false
	}
	for i := range len(key) {
		c := key[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte("_-*/@", c) < 0) {
			return "", "", false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < 0x20 || c > 0x7e || c == '=' {
			return "", "", false
		}
	}
	return key, value, true
}

// repeats reports whether a member of that key is listed already. The leftmost
// is the latest, so it is the one that counts.
func repeats(members []string, key string) bool {
	for _, m := range members {
		if len(m) > len(key) && m[len(key)] == '=' && m[:len(key)] == key {
			return true
		}
	}
	return false
}

// fit removes members until they take at most limit bytes together: the long
// ones first, then from the end, as section 3.3.1.5 says. It reports how many
// are left.
func fit(members []string, limit int) int {
	total := len(members) - 1
	for _, m := range members {
		total += len(m)
	}
	n := len(members)
	for i := n - 1; i >= 0 && total > limit; i-- {
		if len(members[i]) > stateLong {
			total -= len(members[i]) + 1
			copy(members[i:], members[i+1:n])
			n--
		}
	}
	for n > 0 && total > limit {
		n--
		total -= len(members[n]) + 1
	}
	return n
}

// withMemory puts the member "lintel" first and cuts the rest to the limits.
func withMemory(carried, memory string) string {
	first := memoryKey + "=" + memory
	if carried == "" {
		return first
	}
	var members [stateMembers]string
	n := 0
	for m := range strings.SplitSeq(carried, ",") {
		if n == stateMembers-1 {
			break
		}
		members[n] = strings.Trim(m, " \t")
		n++
	}
	n = fit(members[:n], stateBytes-len(first)-1)
	if n == 0 {
		return first
	}
	return first + "," + strings.Join(members[:n], ",")
}
