package firewall

import (
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Config says what differs from the defaults.
type Config struct {
	Reserved      []string `yaml:"reserved" listify:"true" doc:"further header names that clients must not set, as X-Tenant or X-Tenant-* for all that begin so"`
	Allow         []string `yaml:"allow" listify:"true" doc:"names taken off the list: a client's copy is forwarded, in its ordinary spelling only"`
	ResponseStrip []string `yaml:"response_strip" listify:"true" doc:"further header names removed from every answer; Txn-Token and Hop-Token always are"`
}

// Kind is the registry entry. The modes put one before routing themselves; a
// configured one adds to it.
func Kind() filter.Kind {
	return filter.Define("firewall", "Removes a client's copy of reserved identity headers in every disguise, and token headers from answers.",
		func(c *Config, _ *filter.Env) (any, error) {
			if err := check(c); err != nil {
				return nil, err
			}
			return New(*c)
		})
}

// Filter is the header firewall.
type Filter struct {
	reserved *Set
	answers  *Set
	interim  func(*exchange.Fields) // answers.Strip for 1xx, bound once
}

// New builds the firewall. Unlike configuration, a composition may allow the
// internal tokens, where it verifies and removes them itself.
func New(c Config) (*Filter, error) {
	reserved, err := NewSet(append(DefaultNames(), c.Reserved...)...)
	if err != nil {
		return nil, err
	}
	if reserved, err = reserved.Except(append(defaultAllowed(), c.Allow...)...); err != nil {
		return nil, err
	}
	answers, err := NewSet(append([]string{TxnToken, HopToken}, c.ResponseStrip...)...)
	if err != nil {
		return nil, err
	}
	return &Filter{reserved: reserved, answers: answers,
		interim: func(h *exchange.Fields) { answers.Strip(h) }}, nil
}

// check finds the key that is at fault, and refuses what only a composition may.
func check(c *Config) error {
	keys := []struct {
		name string
		list []string
	}{{"reserved", c.Reserved}, {"allow", c.Allow}, {"response_strip", c.ResponseStrip}}
	for _, key := range keys {
		for i, p := range key.list {
			path := fmt.Sprintf("%s[%d]", key.name, i)
			set, err := NewSet(p)
			if err != nil {
				return filter.Errorf(path, "%s", strings.TrimPrefix(err.Error(), "firewall: "))
			}
			if key.name == "allow" && (set.Match(TxnToken) || set.Match(HopToken)) {
				return filter.Errorf(path, "%s carries Lintel's internal tokens and cannot be allowed from clients", p)
			}
		}
	}
	return nil
}

// Reserved is the set of names taken off requests.
func (f *Filter) Reserved() *Set { return f.reserved }

// Names lists the reserved patterns, sorted.
func (f *Filter) Names() []string { return f.reserved.Names() }

// OnRequest removes reserved names and counts them in x.Removed.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	x.Removed += f.reserved.CleanRequest(x)
	x.CleanInterim = f.interim
	return filter.Next
}

// OnResponse removes token headers.
func (f *Filter) OnResponse(x *exchange.Exchange) { f.answers.CleanResponse(x) }

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	return fmt.Sprintf("removes from requests: %s; lets through: %s; removes from answers: %s",
		strings.Join(f.reserved.names, " "), strings.Join(f.reserved.allowed, " "), strings.Join(f.answers.names, " "))
}
