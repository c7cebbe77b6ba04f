package combine

import (
	"fmt"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
)

// Anonymous is the configuration of anonymous.
type Anonymous struct {
	Consumer string `yaml:"consumer" doc:"the consumer such a request counts as, for limits and lists; none when empty" example:"guest"`
}

// AnonymousKind is the registry entry of anonymous.
func AnonymousKind() filter.Kind {
	return filter.Define("anonymous", "Lets who shows no credential through as a guest; the last of any_of, or after a filter that lets such pass.", buildAnonymous)
}

// Guest makes a guest of whoever is not known yet.
type Guest struct {
	consumer *consumer.Consumer // nil: none
}

func buildAnonymous(c *Anonymous, env *filter.Env) (any, error) {
	known, err := consumer.Known(env)
	if err != nil {
		return nil, err
	}
	g := &Guest{}
	if c.Consumer != "" {
		if g.consumer = known.Named(c.Consumer); g.consumer == nil {
			return nil, filter.Errorf("consumer", "%q is not under consumers", c.Consumer)
		}
	}
	return g, nil
}

// OnRequest never sets an identity: a guest is nobody in particular.
func (g *Guest) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Identity == nil && x.Consumer == "" && g.consumer != nil {
		x.Consumer = g.consumer.Name
	}
	return filter.Next
}

// Explain implements filter.Explainer.
func (g *Guest) Explain() string {
	if g.consumer == nil {
		return "passes as nobody"
	}
	return fmt.Sprintf("passes as consumer %s", g.consumer.Name)
}
