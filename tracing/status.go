package tracing

import "strconv"

const firstStatus, lastStatus = 100, 599

// statusLabels holds the text of every status there is a label for, so that a
// look-up costs no allocation.
var statusLabels = func() (l [lastStatus + 1]string) {
	for i := firstStatus; i <= lastStatus; i++ {
		l[i] = strconv.Itoa(i)
	}
	return l
}()

// statusLabel bounds the status codes: "" for none, "_OTHER" for one out of
// range.
func statusLabel(status int) string {
	switch {
	case status == 0:
		return ""
	case status < firstStatus || status > lastStatus:
		return other
	}
	return statusLabels[status]
}

// statusKey is the status as a key: one for each statusLabel.
func statusKey(status int) int32 {
	if status != 0 && (status < firstStatus || status > lastStatus) {
		return lastStatus + 1
	}
	return int32(status)
}
