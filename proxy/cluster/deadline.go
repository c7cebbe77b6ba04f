package cluster

import (
	"net/http"
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// HeaderGRPCTimeout is how long a gRPC caller waits.
const HeaderGRPCTimeout = "Grpc-Timeout"

// terms says how long this exchange may still take: the least of what the route
// allows and what the caller has left, by its hop token, its grpc-timeout or the
// field that is configured for it.
func (r *run) terms() (time.Duration, bool, *exchange.Fault) {
	x, o, now := r.x, r.o, since(r.x.Start)
	r.now = now
	if o.Timeout > 0 {
		x.Deadline = now.Add(o.Timeout)
	}
	if x.Txn != nil {
		r.hurry(x.Txn.Deadline)
	}
	r.hurry(x.Due)
	if x.Request.Proto == "HTTP/2.0" && x.IsGRPC() {
		if v := x.Request.Header.Joined(HeaderGRPCTimeout); v != "" {
			d, ok := GRPCTimeout(v)
			if !ok {
				return 0, false, badDeadline("grpc-timeout is at most 8 digits and one of H, M, S, m, u, n")
			}
			r.hurry(now.Add(d))
		}
	}
	return x.Deadline.Sub(now), !x.Deadline.IsZero(), nil
}

// hurry takes a deadline that the caller set.
func (r *run) hurry(due time.Time) {
	if x := r.x; !due.IsZero() && (x.Deadline.IsZero() || due.Before(x.Deadline)) {
		x.Deadline, r.hurried = due, true
	}
}

// tell says in the request how long its answer is waited for.
func (r *run) tell() {
	x := r.x
	if x.Deadline.IsZero() {
		return
	}
	if x.Request.Proto == "HTTP/2.0" && x.IsGRPC() {
		x.Request.Header.Set(HeaderGRPCTimeout, FormatGRPCTimeout(time.Until(x.Deadline)))
	}
	if to := r.o.DeadlineTo; to != "" {
		x.Request.Header.Set(to, FormatTimeout(to, time.Until(x.Deadline)))
	}
}

func badDeadline(detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-deadline",
		Title: "Deadline is malformed", Detail: detail, Proxy: "http_request_error"}
}

// grpcUnits are the units of grpc-timeout.
var grpcUnits = [...]struct {
	letter byte
	unit   time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

// maxTimeout is the longest that is believed: longer waits are as good as this.
const maxTimeout = 24 * time.Hour

// GRPCTimeout reads a grpc-timeout as gRPC over HTTP/2 defines it: at most eight
// digits and a unit.
func GRPCTimeout(v string) (time.Duration, bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n, ok := digits(v[:len(v)-1])
	if !ok {
		return 0, false
	}
	for _, u := range grpcUnits {
		if u.letter == v[len(v)-1] {
			if n > int64(maxTimeout/u.unit) {
				return maxTimeout, true
			}
			return time.Duration(n) * u.unit, true
		}
	}
	return 0, false
}

// FormatGRPCTimeout writes a grpc-timeout, rounded down to what its digits hold.
func FormatGRPCTimeout(d time.Duration) string {
	d = max(d, 1)
	for _, u := range grpcUnits {
		if n := int64(d / u.unit); n < 1e8 {
			return strconv.FormatInt(n, 10) + string(u.letter)
		}
	}
	return "99999999H"
}

// digits reads a whole number of at most 15 digits.
func digits(s string) (n int64, ok bool) {
	if s == "" || len(s) > 15 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int64(s[i]-'0')
	}
	return n, true
}

// millis reports whether a field of that name counts milliseconds.
func millis(name string) bool {
	return len(name) >= 3 && exchange.EqualFold(name[len(name)-3:], "-ms")
}

// Timeout reads the value of a field of that name in which a caller says how long
// it waits: a number, with a fraction if need be, of seconds, or of milliseconds
// when the name ends in -Ms; or of what its unit says, ms, s or m.
func Timeout(name, v string) (time.Duration, bool) {
	unit := time.Second
	if millis(name) {
		unit = time.Millisecond
	}
	if n := len(v); n > 2 && v[n-2:] == "ms" {
		v, unit = v[:n-2], time.Millisecond
	} else if n > 1 && v[n-1] == 's' {
		v, unit = v[:n-1], time.Second
	} else if n > 1 && v[n-1] == 'm' {
		v, unit = v[:n-1], time.Minute
	}
	whole, fraction := v, ""
	for i := range len(v) {
		if v[i] == '.' {
			if whole, fraction = v[:i], v[i+1:]; len(fraction) > 9 || fraction == "" {
				return 0, false
			}
			break
		}
	}
	n, ok := digits(whole)
	if !ok {
		return 0, false
	}
	if n >= int64(maxTimeout/unit) {
		n, fraction = int64(maxTimeout/unit), ""
	}
	d := time.Duration(n) * unit
	if fraction != "" {
		f, ok := digits(fraction)
		if !ok {
			return 0, false
		}
		part := float64(f)
		for range len(fraction) {
			part /= 10
		}
		d += time.Duration(part * float64(unit))
	}
	return d, true
}

// FormatTimeout writes what is left for a field of that name, rounded down to
// whole milliseconds.
func FormatTimeout(name string, d time.Duration) string {
	ms := max(d.Milliseconds(), 0)
	if millis(name) {
		return strconv.FormatInt(ms, 10)
	}
	return strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64)
}

// TakeDue reads the first of the route's fields that the caller sent, if it is
// believed, and takes all of them off.
func TakeDue(x *exchange.Exchange, o *Options, believed bool) *exchange.Fault {
	h := &x.Request.Header
	var fault *exchange.Fault
	for _, name := range o.DeadlineFrom {
		if !h.Has(name) {
			continue
		}
		if v := h.Joined(name); believed && fault == nil && x.Due.IsZero() {
			if d, ok := Timeout(name, v); ok {
				x.Due = since(x.Start).Add(d)
			} else {
				fault = badDeadline(name + " is a number of seconds, or one with ms, s or m (of milliseconds where the name ends in -Ms)")
			}
		}
		h.Del(name)
	}
	return fault
}
