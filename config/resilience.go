package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RetryBudget caps a service's retries as a share of its requests.
type RetryBudget struct {
	Ratio        float64       `yaml:"ratio" default:"0.2" min:"0" max:"10" doc:"Retries per request within window; 0.2 is one for every five requests."`
	Window       time.Duration `yaml:"window" default:"10s" min:"1s" max:"5m" doc:"Length of the window the share is taken over."`
	MinPerSecond float64       `yaml:"min_per_second" default:"3" min:"0" max:"1000000" doc:"Retries per second that are allowed besides, so that a service with few requests has some too."`
}

// Hedge sends a request that only reads a second time when its answer is late.
type Hedge struct {
	After   string   `yaml:"after" default:"p95" doc:"When it is late: a duration, or p50 to p99, what that share of the answers' heads takes no longer than, as measured on this route since the configuration was loaded: nothing is hedged before 100 answers, and nothing within 1 ms." example:"50ms"`
	Methods []string `yaml:"methods" listify:"true" enum:"GET,HEAD,OPTIONS,POST" default:"[GET, HEAD]" doc:"Methods that only read. With a body only if that is of known length and within retries.buffer_body."`
}

// Late is what After says: a share of the answers, or else a time; false if
// neither.
func (h *Hedge) Late() (q float64, d time.Duration, ok bool) {
	if n, is := strings.CutPrefix(h.After, "p"); is {
		percent, err := strconv.Atoi(n)
		return float64(percent) / 100, 0, err == nil && len(n) == 2 && percent >= 50
	}
	d, err := time.ParseDuration(h.After)
	return 0, d, err == nil && d >= time.Millisecond && d <= time.Minute
}

// Validate implements Validator.
func (h *Hedge) Validate(report func(path, msg string)) {
	if _, _, ok := h.Late(); !ok {
		report("after", fmt.Sprintf("expected a duration from 1ms to 1m, or p50 to p99, found %q", h.After))
	}
}

// Concurrency bounds how many exchanges a service has at once.
type Concurrency struct {
	Max          int           `yaml:"max" default:"100" min:"1" max:"1000000" doc:"Exchanges in progress at once, counted until the answer has been passed on whole. With adaptive, the most that the limit may come to."`
	Adaptive     bool          `yaml:"adaptive" doc:"Find the limit by the service's latency: it grows while answers come as fast as without a queue there, and shrinks when they come slower."`
	Min          int           `yaml:"min" default:"4" min:"1" doc:"With adaptive: the least that the limit may come to."`
	Queue        int           `yaml:"queue" default:"0" min:"0" max:"1000000" doc:"Requests that may wait for their turn, first come, first served; 503 beyond."`
	QueueTimeout time.Duration `yaml:"queue_timeout" default:"100ms" min:"1ms" max:"1m" doc:"Longest wait in the queue; then 503."`
}

// Validate implements Validator.
func (c *Concurrency) Validate(report func(path, msg string)) {
	if c.Adaptive && c.Min > c.Max {
		report("min", "is more than max: the limit moves between the two")
	}
}

// Fallback is a fixed answer in place of a service's.
type Fallback struct {
	Status  int               `yaml:"status" default:"200" min:"200" max:"599" doc:"Status code."`
	Body    string            `yaml:"body" doc:"Body."`
	Headers map[string]string `yaml:"headers" doc:"Answer headers." example:"{content-type: application/json}"`
	On      []string          `yaml:"on" listify:"true" enum:"breaker-open,no-endpoint,service-overloaded,unreachable,timeout" default:"[breaker-open, no-endpoint]" doc:"What it stands in for: faults by their code; unreachable is any failure to reach the service or to get an answer but timeout. A stale answer of the route's cache comes before it. gRPC callers get their status instead."`
}

// Deadline maps header fields to the time that is left for a call and back.
type Deadline struct {
	From []string `yaml:"from" listify:"true" pattern:"^[A-Za-z][A-Za-z0-9-]{0,99}$" doc:"Fields in which a caller says for how long it will wait; the first that is there counts, the route's timeout stays the limit, and they are taken off. A value is seconds, or a number with ms, s or m; of a name that ends in -Ms, milliseconds. At the edge only trusted_proxies are believed." example:"[X-Request-Timeout]"`
	To   string   `yaml:"to" pattern:"^[A-Za-z][A-Za-z0-9-]{0,99}$" doc:"Field in which services are told what is left: seconds as 1.25, or milliseconds where the name ends in -Ms." example:"X-Request-Timeout-Ms"`
}

// Validate implements Validator.
func (d *Deadline) Validate(report func(path, msg string)) {
	for i, name := range d.From {
		if framing(name) {
			report(fmt.Sprintf("from[%d]", i), name+" says how a message is framed or carried, and cannot be used for this")
		}
	}
	if framing(d.To) {
		report("to", d.To+" says how a message is framed or carried, and cannot be used for this")
	}
}

func framing(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "grpc-timeout":
		return true
	}
	return false
}

// Overload says when requests are turned away because this machine is full.
type Overload struct {
	Delay    time.Duration `yaml:"delay" default:"10ms" min:"1ms" max:"10s" doc:"How late work may start, as measured all the time: when it has been later throughout interval, the machine is full."`
	Interval time.Duration `yaml:"interval" default:"100ms" min:"20ms" max:"10s" doc:"How often is decided to turn more or fewer requests away."`
}
