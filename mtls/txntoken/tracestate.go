package txntoken

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// The tracestate member (W3C Trace Context section 3.3) by which an app's own
// calls find their transaction, and the bounds of a tracestate.
const (
	stateKey     = "lintel"
	stateMembers = 32
	stateBytes   = 512
	stateLong    = 128 // longer members go first
	stateIDLen   = 32
)

// FindState returns the id in tracestate's lintel member, "" when there is
// none, more than one, or one that is no id.
func FindState(tracestate string) string {
	id := ""
	for member := range strings.SplitSeq(tracestate, ",") {
		key, value, _ := strings.Cut(trim(member), "=")
		if key != stateKey {
			continue
		}
		if id != "" || !isID(value) {
			return ""
		}
		id = value
	}
	return id
}

// StripState removes every lintel member, in whatever case it is written. A
// tracestate without any is returned as it is.
func StripState(tracestate string) string {
	if !hasState(tracestate) {
		return tracestate
	}
	var b strings.Builder
	b.Grow(len(tracestate))
	for member := range strings.SplitSeq(tracestate, ",") {
		if member = trim(member); member == "" || isOurs(member) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(member)
	}
	return b.String()
}

// AddState puts lintel=id first, in place of any lintel member there was. To
// keep within 32 members and 512 bytes, members longer than 128 bytes go
// first, then members from the end, as the specification has it.
func AddState(tracestate, id string) string {
	own := stateKey + "=" + id
	members := make([]string, 1, 8)
	members[0] = own
	size := len(own)
	for member := range strings.SplitSeq(tracestate, ",") {
		if member = trim(member); member != "" && !isOurs(member) {
			members = append(members, member)
			size += 1 + len(member)
		}
	}
	for i := len(members) - 1; i > 0 && size > stateBytes; i-- {
		if n := len(members[i]); n > stateLong {
			members = append(members[:i], members[i+1:]...)
			size -= 1 + n
		}
	}
	for last := len(members) - 1; last > 0 && (size > stateBytes || last >= stateMembers); last-- {
		size -= 1 + len(members[last])
		members = members[:last]
	}
	return strings.Join(members, ",")
}

func hasState(tracestate string) bool {
	for member := range strings.SplitSeq(tracestate, ",") {
		if isOurs(trim(member)) {
			return true
		}
	}
	return false
}

func isOurs(member string) bool {
	key, _, _ := strings.Cut(member, "=")
	return exchange.EqualFold(trim(key), stateKey)
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isID reports whether s is 128 bits in lower-case hexadecimal.
func isID(s string) bool {
	if len(s) != stateIDLen {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
