package main

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	manyEndpoints = 50000
	churnShare    = manyEndpoints / 100 // replaced each second
)

// churn50k follows a service of 50,000 endpoints of which 500 are replaced every
// second. Each endpoint is met so rarely that the backend closes its connection
// after each answer.
func churn50k() *Scenario {
	var cat *catalog
	return &Scenario{
		Name:   "churn_50k",
		Title:  "50,000 endpoints, 1% of them replaced every second",
		Metric: cpuPerRequest,
		Target: "no failed request",
		Tools:  []string{"wrk"},
		Answer: smallAnswer,
		Prepare: func(b *Bench) (func(), error) {
			_, port, err := net.SplitHostPort(b.Backend.Close)
			if err != nil {
				return nil, err
			}
			if cat, err = startCatalog(manyEndpoints, churnShare, port); err != nil {
				return nil, err
			}
			return cat.end, nil
		},
		Contenders: []Contender{{Name: "lintel", Hops: []Hop{{Program: lintelIngress, Config: func(b *Bench, p Place) string {
			return fmt.Sprintf(`version: 1
listeners:
  - {name: edge, address: %q}
discovery:
  consul: {address: %q}
routes:
  - {name: all, service: app}
services:
  app: {consul: {service: app}}
admin: {address: %q}
%s`, p.Listen, catalogAddr(cat), p.Admin, b.lintelLog(false))
		}}}}},
		Load: func(ctx context.Context, b *Bench, t Turn) (Load, error) {
			before := cat.told()
			l, err := wrkGet(ctx, b, t)
			if err != nil {
				return l, err
			}
			metrics, err := get(ctx, "http://"+t.Running.Procs[0].Place.Admin+"/metrics")
			if err != nil {
				return l, err
			}
			live, err := gauge(metrics, "lintel_endpoints")
			if err != nil {
				return l, err
			}
			if live != manyEndpoints {
				return l, fmt.Errorf("expected %d live endpoints, found %v", manyEndpoints, live)
			}
			l.Note = fmt.Sprintf("%d changes of %d endpoints told in %v", cat.told()-before, churnShare, time.Duration(t.Seconds)*time.Second)
			return l, nil
		},
	}
}

// catalogAddr stands in where a configuration is only looked at.
func catalogAddr(c *catalog) string {
	if c == nil {
		return "127.0.0.1:8500"
	}
	return c.addr
}
