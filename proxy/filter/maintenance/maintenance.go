package maintenance

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/filter/ipfilter"
)

// Config is the maintenance section of a route.
type Config struct {
	Enabled    *bool         `yaml:"enabled" default:"true" doc:"whether the route is closed; switched by a reload of the configuration" example:"${MAINTENANCE:-false}"`
	RetryAfter time.Duration `yaml:"retry_after" default:"5m" min:"1s" doc:"when clients are told to come back"`
	Detail     string        `yaml:"detail" default:"this is closed for maintenance" doc:"what clients are told"`
	Addresses  []string      `yaml:"addresses" listify:"true" doc:"addresses and ranges that get through all the same" example:"[10.0.0.0/8]"`
	Header     Header        `yaml:"header" doc:"a request header that gets through all the same; it never reaches the service"`
}

// Header is a secret that testers send.
type Header struct {
	Name  string `yaml:"name" doc:"name" example:"X-Maintenance-Key"`
	Value string `yaml:"value" unit:"secret" doc:"value of 16 bytes or more; or file: and a path"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("maintenance", "answers 503 while a route is closed, but for some addresses and who knows a secret", build)
}

// Filter closes a route.
type Filter struct {
	closed bool
	fault  exchange.Fault
	allow  *ipfilter.Table
	name   string
	digest [sha256.Size]byte // of the secret
	about  string
}

// minSecret is how long a secret must be, in bytes.
const minSecret = 16

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{closed: c.Enabled == nil || *c.Enabled, name: c.Header.Name}
	retry, detail := c.RetryAfter, c.Detail
	if retry <= 0 {
		retry = 5 * time.Minute
	}
	if detail == "" {
		detail = "this is closed for maintenance"
	}
	f.fault = exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusServiceUnavailable, Code: "maintenance",
		Title: "Closed for maintenance", Detail: detail, RetryAfter: retry}
	var at int
	var err error
	if f.allow, at, err = ipfilter.ParseTable(c.Addresses); err != nil {
		return nil, filter.Errorf(fmt.Sprintf("addresses[%d]", at), "%v", err)
	}
	switch h := c.Header; {
	case (h.Name == "") != (h.Value == ""):
		return nil, filter.Errorf("header", "want both name and value, or neither")
	case h.Name != "" && len(h.Value) < minSecret:
		return nil, filter.Errorf("header.value", "found %d bytes, want %d at least: who guesses it gets in", len(h.Value), minSecret)
	case h.Name != "":
		if _, err := firewall.NewSet(h.Name); err != nil || strings.Contains(h.Name, "*") {
			return nil, filter.Errorf("header.name", "%q is no header name: want letters, digits and dashes", h.Name)
		}
		f.digest = sha256.Sum256([]byte(h.Value))
	}
	f.about = c.explain(f.closed, retry)
	return f, nil
}

// OnRequest refuses while the route is closed. The secret goes no further,
// whether it is or not.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	knows := false
	if f.name != "" {
		h := &x.Request.Header
		if h.Count(f.name) == 1 && f.closed {
			sum := sha256.Sum256([]byte(h.Get(f.name)))
			knows = subtle.ConstantTimeCompare(sum[:], f.digest[:]) == 1
		}
		h.Del(f.name)
	}
	if !f.closed || knows || f.allow.Has(x.ClientIP) {
		return filter.Next
	}
	fault := f.fault // each exchange's own
	return filter.Refuse(&fault)
}

func (c *Config) explain(closed bool, retry time.Duration) string {
	if !closed {
		return "open"
	}
	s := fmt.Sprintf("closed, retry after %v", retry)
	if len(c.Addresses) > 0 {
		s += ", but for " + strings.Join(c.Addresses, " ")
	}
	if c.Header.Name != "" {
		s += ", but for the right " + c.Header.Name
	}
	return s
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
