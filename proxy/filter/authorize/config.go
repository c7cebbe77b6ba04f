package authorize

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"cel.dev/cel-go/common/types/traits"

	"lintel.dev/lintel/proxy/filter"
)

// Config of the filter: an expression alone is allow.
type Config struct {
	Allow     string `yaml:"allow" doc:"CEL expression that must be true for a request to pass; without it, whatever no rule denies passes." example:"'\"staff\" in identity.roles'"`
	Deny      Deny   `yaml:"deny" doc:"what a request is answered for which allow is not true."`
	Rules     []Rule `yaml:"rules" doc:"looked at first, in order: the first that is true denies."`
	CostLimit int    `yaml:"cost_limit" default:"10000" min:"100" max:"100000" doc:"what evaluating one expression may cost, in CEL's units (about one per step, and per ten characters looked at); one that costs more denies."`
}

// ShortField lets an expression stand alone.
func (*Config) ShortField() string { return "Allow" }

// Rule denies what it is true for.
type Rule struct {
	When string `yaml:"when" required:"true" doc:"CEL expression." example:"request.method == 'DELETE' && !client.ip.inCidr('10.0.0.0/8')"`
	Deny Deny   `yaml:"deny" doc:"what the request is answered."`
}

// Deny is a refusal.
type Deny struct {
	Status int    `yaml:"status" default:"403" min:"400" max:"499" doc:"HTTP status; with 401 goes WWW-Authenticate: Bearer."`
	Code   string `yaml:"code" default:"not-allowed" pattern:"^[a-z][a-z0-9-]{0,62}$" doc:"code of the problem and label of lintel_faults_total."`
	Title  string `yaml:"title" default:"Not permitted" doc:"title of the problem."`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("authorize", "Lets a request pass or not by CEL expressions over it and who makes it.", build)
}

func (d *Deny) defaults() {
	if d.Status == 0 {
		d.Status = http.StatusForbidden
	}
	if d.Code == "" {
		d.Code = "not-allowed"
	}
	if d.Title == "" {
		d.Title = "Not permitted"
	}
}

func build(c *Config, env *filter.Env) (any, error) {
	cfg := *c
	if cfg.CostLimit == 0 {
		cfg.CostLimit = 10000
	}
	if strings.TrimSpace(cfg.Allow) == "" && len(cfg.Rules) == 0 {
		return nil, filter.Errorf("", "found neither allow nor rules: nothing would be decided")
	}
	f := &Filter{now: time.Now, tags: map[string]traits.Mapper{}}
	for _, consumer := range env.Consumers {
		f.tags[consumer.Name] = mapOf(consumer.Tags)
	}
	for i, rule := range cfg.Rules {
		compiled, err := compile(fmt.Sprintf("rules[%d].when", i), rule.When, cfg.CostLimit)
		if err != nil {
			return nil, err
		}
		rule.Deny.defaults()
		f.rules = append(f.rules, denial{compiled, rule.Deny})
	}
	if strings.TrimSpace(cfg.Allow) != "" {
		compiled, err := compile("allow", cfg.Allow, cfg.CostLimit)
		if err != nil {
			return nil, err
		}
		cfg.Deny.defaults()
		f.allow = &denial{compiled, cfg.Deny}
	}
	return f, nil
}
