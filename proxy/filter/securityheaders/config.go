package securityheaders

import (
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Config is the security_headers section of a route. off leaves a field out.
type Config struct {
	HSTS           HSTS     `yaml:"hsts" doc:"Strict-Transport-Security (RFC 6797)"`
	NoSniff        *bool    `yaml:"nosniff" default:"true" doc:"X-Content-Type-Options: nosniff"`
	FrameOptions   string   `yaml:"frame_options" enum:"deny,sameorigin,off" default:"deny" doc:"X-Frame-Options; left out when frame_ancestors says more"`
	FrameAncestors []string `yaml:"frame_ancestors" listify:"true" doc:"who may show the answer in a frame, as 'self', 'none' or origins: the directive of Content-Security-Policy, added to csp" example:"[\"'self'\", https://portal.example.com]"`
	ReferrerPolicy string   `yaml:"referrer_policy" default:"strict-origin-when-cross-origin" enum:"no-referrer,no-referrer-when-downgrade,origin,origin-when-cross-origin,same-origin,strict-origin,strict-origin-when-cross-origin,unsafe-url,off" doc:"Referrer-Policy"`
	CSP            string   `yaml:"csp" doc:"Content-Security-Policy; none without it" example:"default-src 'self'"`
	CSPReportOnly  string   `yaml:"csp_report_only" doc:"Content-Security-Policy-Report-Only, to try a policy"`
	Permissions    string   `yaml:"permissions_policy" doc:"Permissions-Policy; none without it" example:"camera=(), geolocation=()"`
	COOP           string   `yaml:"coop" enum:"same-origin,same-origin-allow-popups,noopener-allow-popups,unsafe-none,off" default:"off" doc:"Cross-Origin-Opener-Policy"`
	COEP           string   `yaml:"coep" enum:"require-corp,credentialless,unsafe-none,off" default:"off" doc:"Cross-Origin-Embedder-Policy"`
	CORP           string   `yaml:"corp" enum:"same-origin,same-site,cross-origin,off" default:"off" doc:"Cross-Origin-Resource-Policy"`
	Override       bool     `yaml:"override" doc:"replace what the service says of its own; without it that stays"`
}

// HSTS has browsers use https only.
type HSTS struct {
	Enabled           *bool         `yaml:"enabled" default:"true" doc:"whether it is sent, on TLS listeners"`
	MaxAge            time.Duration `yaml:"max_age" default:"8760h" min:"0s" doc:"how long browsers remember; 0s has them forget"`
	IncludeSubdomains bool          `yaml:"include_subdomains" doc:"also for all names below the host"`
	Preload           bool          `yaml:"preload" doc:"consent to browsers' built-in lists; wants include_subdomains and a year at least. Hard to take back"`
	Plaintext         bool          `yaml:"plaintext" doc:"also on plaintext listeners: only where a proxy in front ends TLS for every client"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("security_headers", "tells browsers to be careful: HSTS, nosniff, frames, referrer, content security policy and the like", build)
}

// preloadAge is what browsers' lists ask for.
const preloadAge = 365 * 24 * time.Hour

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{override: c.Override, plaintext: c.HSTS.Plaintext}
	if on(c.HSTS.Enabled) {
		h := &c.HSTS
		if h.Preload && (!h.IncludeSubdomains || h.MaxAge < preloadAge) {
			return nil, filter.Errorf("hsts.preload", "found include_subdomains %t and max_age %v: browsers' lists take hosts only with include_subdomains and 8760h or more", h.IncludeSubdomains, h.MaxAge)
		}
		v := fmt.Sprintf("max-age=%d", int64(h.MaxAge/time.Second))
		if h.IncludeSubdomains {
			v += "; includeSubDomains"
		}
		if h.Preload {
			v += "; preload"
		}
		f.hsts = v
	}
	csp := strings.TrimSuffix(strings.TrimSpace(c.CSP), ";")
	frame := c.FrameOptions
	if len(c.FrameAncestors) > 0 {
		for i, a := range c.FrameAncestors {
			if a == "" || strings.ContainsAny(a, " \t;,") || strings.Contains(a, "*") && a != "*" && !strings.Contains(a, "*.") {
				return nil, filter.Errorf(fmt.Sprintf("frame_ancestors[%d]", i), "found %q, want 'self', 'none', * or an origin like https://portal.example.com", a)
			}
			if a == "self" || a == "none" {
				return nil, filter.Errorf(fmt.Sprintf("frame_ancestors[%d]", i), "found %s, which would be a host: write \"'%s'\"", a, a)
			}
		}
		if strings.Contains(strings.ToLower(csp), "frame-ancestors") {
			return nil, filter.Errorf("frame_ancestors", "csp says frame-ancestors already: give one of the two")
		}
		if csp != "" {
			csp += "; "
		}
		csp += "frame-ancestors " + strings.Join(c.FrameAncestors, " ")
		frame = "off"
	}
	for _, l := range []struct{ key, name, value string }{
		{"nosniff", "X-Content-Type-Options", pick(on(c.NoSniff), "nosniff")},
		{"frame_options", "X-Frame-Options", strings.ToUpper(unless(frame, "deny"))},
		{"referrer_policy", "Referrer-Policy", unless(c.ReferrerPolicy, "strict-origin-when-cross-origin")},
		{"csp", "Content-Security-Policy", csp},
		{"csp_report_only", "Content-Security-Policy-Report-Only", c.CSPReportOnly},
		{"permissions_policy", "Permissions-Policy", c.Permissions},
		{"coop", "Cross-Origin-Opener-Policy", unless(c.COOP, "")},
		{"coep", "Cross-Origin-Embedder-Policy", unless(c.COEP, "")},
		{"corp", "Cross-Origin-Resource-Policy", unless(c.CORP, "")},
	} {
		if l.value == "" {
			continue
		}
		for i := 0; i < len(l.value); i++ {
			if b := l.value[i]; b < ' ' || b >= 0x7f {
				return nil, filter.Errorf(l.key, "byte %#02x at offset %d: the value of a header is printable ASCII on one line", b, i)
			}
		}
		f.lines = append(f.lines, exchange.Field{Name: l.name, Value: l.value})
	}
	return f, nil
}

func on(b *bool) bool { return b == nil || *b }

func pick(yes bool, value string) string {
	if yes {
		return value
	}
	return ""
}

// unless is "" for off, and def for what is not given.
func unless(value, def string) string {
	switch value {
	case "off":
		return ""
	case "":
		return def
	}
	return value
}
