package discovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Intentions say who may call a service.
type Intentions struct {
	List         []Intention // the first that matches the caller decides; by falling precedence
	DefaultAllow bool        // what Consul does with a caller that none of them names
	RequiresJWT  bool        // every request must carry a JWT that Consul's jwt-provider entries describe
}

// Intention is one rule about one caller, or about all ("*").
type Intention struct {
	Source     string // service name or "*"
	Namespace  string
	Partition  string
	Peer       string // cluster peering: a caller of another cluster; the local ones when empty
	Precedence int
	Allow      bool         // means nothing when there are Permissions
	Perms      []Permission // the first that matches the request decides; none matches: denied
}

// Permission is a rule about requests. All that is given must match.
type Permission struct {
	Allow       bool
	PathExact   string
	PathPrefix  string
	PathRegex   string // RE2, of the whole path
	Methods     []string
	Headers     []HeaderMatch
	RequiresJWT bool // and the request carries a JWT; who cannot check it must not allow
}

// HeaderMatch is a rule about one header: the one of its tests that is set.
type HeaderMatch struct {
	Name       string
	Present    bool
	Exact      string
	Prefix     string
	Suffix     string
	Contains   string
	Regex      string // RE2, of the whole value
	Invert     bool
	IgnoreCase bool
}

// WatchIntentions calls update with the intentions whose destination is the
// service and again with every change. While Consul cannot be asked nothing is
// called: the last known hold.
//
// Which default holds is asked of the agent's authorize endpoint, the one that
// natively integrated apps obey, about a caller of a random name: the ACL
// policy does not tell since default_intention_policy came, and
// intentions/check ignores that setting (seen in 1.19.2). It needs
// service:write; without it the default counts as deny. A change of the
// default alone is noticed within the blocking wait.
func (c *Consul) WatchIntentions(ctx context.Context, service string, update func(Intentions)) error {
	if service == "" {
		return errors.New("discovery: intentions are asked for no service")
	}
	var last *Intentions
	p := &poll[map[string][]*api.Intention]{
		consul: c, ahead: true, about: fmt.Sprintf("intentions of %q", service),
		needs: fmt.Sprintf("intentions:read and service:read on %q", service),
		ask: func(o *api.QueryOptions) (map[string][]*api.Intention, *api.QueryMeta, error) {
			return c.api.Connect().IntentionMatch(&api.IntentionMatch{By: api.IntentionMatchDestination, Names: []string{service}}, o)
		},
		answer: func(found map[string][]*api.Intention, _ *api.QueryMeta) error {
			list, ok := found[service]
			if !ok {
				return fmt.Errorf("expected the key %q, found %d others", service, len(found))
			}
			next := Intentions{List: plainIntentions(list)}
			var err error
			if next.DefaultAllow, err = c.defaultAllow(ctx, service, next.List); err != nil {
				return fmt.Errorf("asking for the default: %w", err)
			}
			if next.RequiresJWT, err = c.requiresJWT(ctx, service); err != nil {
				return fmt.Errorf("asking for JWT requirements: %w", err)
			}
			if last == nil || !reflect.DeepEqual(*last, next) {
				last = &next
				update(next)
			}
			return nil
		},
	}
	return p.run(ctx)
}

// defaultAllow asks what becomes of a caller that no intention names. Where a
// rule for every caller exists the default never comes into play.
func (c *Consul) defaultAllow(ctx context.Context, service string, list []Intention) (bool, error) {
	for _, i := range list {
		if i.Source == "*" && i.Peer == "" {
			return false, nil
		}
	}
	limited, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	roots, _, err := c.api.Agent().ConnectCARoots(c.options(limited))
	if err != nil {
		return false, err
	}
	caller := fmt.Sprintf("spiffe://%s/ns/default/dc/any/svc/nobody-%s", roots.TrustDomain, strings.ToLower(rand.Text()))
	var answer struct{ Authorized bool }
	status, err := c.post(limited, "/v1/agent/connect/authorize", map[string]string{"Target": service, "ClientCertURI": caller, "ClientCertSerial": "00"}, &answer)
	if status == http.StatusForbidden {
		c.cfg.Log.Warn("discovery: the ACL token may not ask for the default of intentions; taking deny", "service", service, "needs", "service:write")
		return false, nil
	}
	return answer.Authorized, err
}

// requiresJWT looks at the destination's config entry: the match API leaves
// this one field out.
func (c *Consul) requiresJWT(ctx context.Context, service string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	for _, name := range []string{service, "*"} {
		entry, _, err := c.api.ConfigEntries().Get(api.ServiceIntentions, name, c.options(ctx))
		if isStatus(err, 404) || name == "*" && isStatus(err, 403) { // the rule for all may be out of our sight
			continue
		}
		if err != nil {
			return false, err
		}
		if e, ok := entry.(*api.ServiceIntentionsConfigEntry); ok && e.JWT != nil && len(e.JWT.Providers) > 0 {
			return true, nil
		}
	}
	return false, nil
}

func plainIntentions(list []*api.Intention) []Intention {
	var plain []Intention
	for _, i := range list {
		p := Intention{Source: i.SourceName, Namespace: i.SourceNS, Partition: i.SourcePartition, Peer: i.SourcePeer,
			Precedence: i.Precedence, Allow: i.Action == api.IntentionActionAllow && len(i.Permissions) == 0}
		for _, perm := range i.Permissions {
			p.Perms = append(p.Perms, plainPermission(perm))
		}
		plain = append(plain, p)
	}
	slices.SortStableFunc(plain, func(a, b Intention) int { return cmp.Compare(b.Precedence, a.Precedence) })
	return plain
}

func plainPermission(from *api.IntentionPermission) Permission {
	p := Permission{Allow: from.Action == api.IntentionActionAllow, RequiresJWT: from.JWT != nil && len(from.JWT.Providers) > 0}
	if h := from.HTTP; h != nil {
		p.PathExact, p.PathPrefix, p.PathRegex, p.Methods = h.PathExact, h.PathPrefix, h.PathRegex, h.Methods
		for _, m := range h.Header {
			p.Headers = append(p.Headers, HeaderMatch(m))
		}
	}
	return p
}
