package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Outlier says when an endpoint is left out for what traffic meets there.
type Outlier struct {
	Consecutive int           // failures in a row: no connection, no answer, or a 5xx; 0 is off
	Gateway     int           // the same without the service's own errors: no connection, no answer, 502, 503, 504; 0 is off
	FailureRate float64       // share of failures within Interval; 0 is off
	MinRequests int           // answers within Interval before the share counts
	Interval    time.Duration // of looking at shares; one ejection is forgiven in each without another
	Base        time.Duration // length of the first ejection; the n-th takes n times as long
	Longest     time.Duration // at most
	MaxEjected  float64       // most of the endpoints that may be ejected at once
}

// judged makes one attempt and learns from it.
func (r *run) judged() (struct{}, error) {
	if !r.c.learns {
		return r.attempt()
	}
	r.last = nil
	done, err := r.attempt()
	if r.last != nil {
		r.c.learn(r, r.last, err)
	}
	return done, err
}

// learn takes what attempt said of member m. Whatever is a client's doing, or
// our own, says nothing.
func (c *Cluster) learn(r *run, m *member, err error) {
	failed, own := err != nil, false
	switch {
	case errors.Is(err, errNotItsFault):
		return
	case err == nil && r.x.Response.Status >= http.StatusInternalServerError:
		failed, own = true, true
	}
	if c.cfg.Balance == "peak_ewma" && r.upload == nil { // else it may be the client that takes its time
		took := r.x.Answered.Sub(r.x.Sent)
		if r.fault != nil {
			took = max(time.Since(r.x.Sent), failureCost)
		} else if failed && !own {
			took = max(took, failureCost)
		}
		m.cost.observe(took, clock())
	}
	if o := c.cfg.Outlier; o != nil {
		c.count(o, r, m, failed, own)
	}
}

func (c *Cluster) count(o *Outlier, r *run, m *member, failed, own bool) {
	if !failed {
		if m.row.Load() != 0 {
			m.row.Store(0)
		}
		if m.gateway.Load() != 0 {
			m.gateway.Store(0)
		}
		if o.FailureRate > 0 {
			m.good.Add(1)
		}
		return
	}
	if o.FailureRate > 0 {
		m.bad.Add(1)
	}
	row := m.row.Add(1)
	gateway := int32(0)
	if own {
		m.gateway.Store(0)
	} else {
		gateway = m.gateway.Add(1)
	}
	var why string
	switch {
	case o.Consecutive > 0 && int(row) >= o.Consecutive:
		m.row.Store(0)
		why = fmt.Sprintf("%d failures in a row, the last: %s", row, r.failure())
	case o.Gateway > 0 && int(gateway) >= o.Gateway:
		m.gateway.Store(0)
		why = fmt.Sprintf("%d gateway failures in a row, the last: %s", gateway, r.failure())
	default:
		return
	}
	go c.eject(m.Address, m.vitals, why) // the exchange may run on an event loop, and need not wait
}

// failure is what went wrong with the attempt, in a word.
func (r *run) failure() string {
	if r.fault != nil {
		return r.fault.Code
	}
	return fmt.Sprintf("status %d", r.x.Response.Status)
}

// eject leaves an endpoint out for a while, unless too many are out already.
func (c *Cluster) eject(address string, v *vitals, why string) {
	c.mu.Lock()
	defer c.changed()
	now := time.Now()
	if c.ended || !v.usable(now) || !c.holds(v) {
		return
	}
	o := c.cfg.Outlier
	out := 1
	for _, m := range c.bench {
		if now.Before(m.ejected) {
			out++
		}
	}
	limit := o.MaxEjected * float64(len(c.bench))
	if len(c.bench) > 1 {
		limit = max(1, limit)
	}
	if float64(out) > limit {
		c.cfg.Log.Warn("cluster: endpoint keeps failing, and is used all the same: max_ejected are out already", c.attrs("endpoint", address, "why", why, "ejected", out-1)...)
		return
	}
	c.out(o, v, now, why)
	c.cfg.Log.Warn("cluster: endpoint ejected", c.attrs("endpoint", address, "why", why, "until", v.ejected.Format(time.RFC3339), "times", v.times)...)
	c.rebuild(now)
}

func (c *Cluster) out(o *Outlier, v *vitals, now time.Time, why string) {
	v.times++
	v.ejected, v.fault = now.Add(min(time.Duration(v.times)*o.Base, o.Longest)), why
	v.until = v.ejected
	c.ejections.Add(1)
}

// holds reports whether v is still an endpoint of the bench.
func (c *Cluster) holds(v *vitals) bool {
	for _, m := range c.bench {
		if m.vitals == v {
			return true
		}
	}
	return false
}

// sweep looks at the shares of failures, and forgives.
func (c *Cluster) sweep() {
	type outlier struct {
		address string
		v       *vitals
		why     string
	}
	var found []outlier
	o := c.cfg.Outlier
	c.mu.Lock()
	now := time.Now()
	for _, m := range c.members {
		good, bad := m.good.Swap(0), m.bad.Swap(0)
		if now.Before(m.ejected) {
			continue
		}
		all := float64(good) + float64(bad)
		if o.FailureRate > 0 && int(all) >= max(1, o.MinRequests) && float64(bad) >= o.FailureRate*all {
			found = append(found, outlier{m.Address, m.vitals, fmt.Sprintf("%d of %d requests failed", bad, int(all))})
		} else if m.times > 0 && now.Sub(m.until) >= o.Interval {
			m.times--
		}
	}
	if !c.ended {
		c.sweeper.Reset(o.Interval)
	}
	c.mu.Unlock()
	for _, f := range found {
		c.eject(f.address, f.v, f.why)
	}
}
