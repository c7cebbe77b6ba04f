package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// compiler makes the two tables of a sidecar out of a snapshot.
type compiler struct {
	registry   *filter.Registry
	stores     *store.Set
	clusters   *compose.Clusters
	sender     *compose.Sender
	id         *compose.Identity
	intentions *intentions // nil when Consul has no say
	redis      *compose.Redis
	log        *slog.Logger
	dests      *destinations          // of the newest outbound table
	policy     atomic.Pointer[policy] // of the newest inbound table
	offline    bool                   // only checking: there is no certificate to verify with
}

// inbound compiles the table for calls to the app: who calls, firewall, policy,
// the configured filters, what the app is shown, the app.
func (c *compiler) inbound(s *config.Snapshot, memory *txntoken.Memory) (*route.Table, *txntoken.Verifier, error) {
	lease := c.stores.Lease()
	table, verifier, err := c.inboundTable(s, memory, lease)
	if err != nil {
		lease.Release()
	}
	return table, verifier, err
}

func (c *compiler) inboundTable(s *config.Snapshot, memory *txntoken.Memory, lease *store.Lease) (*route.Table, *txntoken.Verifier, error) {
	cfg := s.Sidecar
	leeway := s.Identity.Leeway
	if leeway == 0 {
		leeway = -1 // none; zero would mean the default
	}
	verifier, err := c.verifier(cfg.Policy, leeway)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Pos("sidecar.policy"), err)
	}
	asserters, err := c.patterns(cfg.Policy.ChainAsserters)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Pos("sidecar.policy.chain_asserters"), err)
	}
	bearers, err := c.patterns(cfg.Policy.TokenBearers)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Pos("sidecar.policy.token_bearers"), err)
	}
	rules, err := newPolicy(cfg.Service, cfg.Policy, c.id, c.intentions)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Pos("sidecar.policy.allow"), err)
	}
	c.log.Info("policy: in force", "rules", rules.InForce())
	c.warnOfStrangers(cfg.Policy)

	spec := route.Spec{Release: lease.Release}
	context, err := contextHeaders(cfg.ContextHeaders)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: sidecar.context_headers: %w", s.Pos("sidecar.context_headers"), err)
	}
	reserved := s.Firewall
	for _, c := range context {
		reserved.Reserve = append(slices.Clip(reserved.Reserve), c.header)
	}
	fw, err := compose.Firewall(reserved, s.Pos("firewall"))
	if err != nil {
		return nil, nil, err
	}
	first, err := filter.Bind("receive", s.Pos("sidecar"), &receive{id: c.id, verifier: verifier, asserters: asserters, bearers: bearers,
		maxChain: s.Identity.Hop.MaxChain, leeway: leeway})
	if err != nil {
		return nil, nil, err
	}
	spec.Always = []filter.Instance{first, fw}
	allowed, err := filter.Bind("policy", s.Pos("sidecar.policy"), rules)
	if err != nil {
		return nil, nil, err
	}
	consumers, err := compose.Consumers(s)
	if err != nil {
		return nil, nil, err
	}
	env := compose.Env(lease, c.log, "inbound", consumers)
	env.Redis = c.redis.For(lease, s)
	chain, err := compose.Filters(c.registry, cfg.Inbound, env)
	if err != nil {
		return nil, nil, err
	}
	shown, err := filter.Bind("present", s.Pos("sidecar"), &present{memory: memory, token: cfg.ForwardToken, userHeaders: cfg.UserHeaders, context: context})
	if err != nil {
		return nil, nil, err
	}
	app := compose.MeshService()
	app.Mesh, app.Static, app.Protocol = false, []config.StaticEndpoint{{Address: cfg.App}}, cfg.AppProtocol
	app.Concurrency = cfg.Concurrency
	app.Breaker.Enabled = false // one endpoint, and its health is what Consul is told
	local, err := c.clusters.Use(lease, cfg.Service, app)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Pos("sidecar.app"), err)
	}
	filters := []filter.Instance{allowed}
	if ends := newStreams(cfg.Policy.Streams, &c.policy); ends != nil {
		ends.trusted = c.id.Trusted
		in, err := filter.Bind("streams", s.Pos("sidecar.policy.streams"), ends)
		if err != nil {
			return nil, nil, err
		}
		filters = append(filters, in)
	}
	filters = append(append(filters, chain...), shown)
	spec.Routes = []route.Route{{Name: "inbound", Pos: s.Pos("sidecar"), Filters: filters, Cluster: local,
		Forward: compose.Forwarding(cfg.Timeout, config.Retries{}, s.Deadline), TunnelIdle: int64(cfg.TunnelIdle), Place: inboundPlaces(s)}}
	if cfg.TokenExchange != nil {
		r, err := c.tokenExchange(s, env)
		if err != nil {
			return nil, nil, err
		}
		spec.Routes = append(spec.Routes, r)
	}
	table, err := route.Compile(spec)
	if err == nil {
		c.policy.Store(rules)
	}
	return table, verifier, err
}

func (c *compiler) verifier(p config.Policy, leeway time.Duration) (*txntoken.Verifier, error) {
	users, self := p.UserMinters, p.SelfMinters
	if len(users) == 0 {
		users = []string{"ingress"}
	}
	if len(self) == 0 {
		self = []string{"*"}
	}
	users, err := c.id.Patterns(users)
	if err != nil {
		return nil, fmt.Errorf("user_minters: %w", err)
	}
	if self, err = c.id.Patterns(self); err != nil {
		return nil, fmt.Errorf("self_minters: %w", err)
	}
	if c.offline {
		_, usersErr := txntoken.ParsePatterns(users)
		_, selfErr := txntoken.ParsePatterns(self)
		return nil, errors.Join(usersErr, selfErr)
	}
	return txntoken.NewVerifier(c.id.Source, txntoken.VerifierConfig{Audience: c.id.TrustDomain, UserMinters: users, SelfMinters: self, Leeway: leeway})
}

func (c *compiler) patterns(list []string) (txntoken.Patterns, error) {
	ids, err := c.id.Patterns(list)
	if err != nil {
		return txntoken.Patterns{}, err
	}
	return txntoken.ParsePatterns(ids)
}
