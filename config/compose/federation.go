package compose

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
)

func federation(list []config.Federation) []mtls.FederationConfig {
	out := make([]mtls.FederationConfig, len(list))
	for i, f := range list {
		out[i] = mtls.FederationConfig(f)
	}
	return out
}

// federate makes the further trust domains of the configuration known. It is
// not waited for: a partner's outage keeps nothing from starting.
func (id *Identity) federate(list []config.Federation, log *slog.Logger) error {
	if len(list) == 0 {
		return nil
	}
	f, err := mtls.Federate(id.Source, federation(list), log)
	if err != nil {
		return errors.Join(err, id.Source.Close())
	}
	id.Source, id.Federated = f, f
	return nil
}

// Server are the options of mesh listeners: peers of which trust domains are
// admitted besides the own. What they may do is for policies to say.
func (id *Identity) Server(allowTLS12 bool) mtls.Options {
	o := mtls.Options{AllowTLS12: allowTLS12}
	if id.Federated != nil {
		o.TrustDomains = id.Federated.Names()
	}
	return o
}

// Home reports whether a SPIFFE ID is of the own trust domain.
func (id *Identity) Home(spiffeID string) bool {
	rest, ok := strings.CutPrefix(spiffeID, "spiffe://")
	return ok && len(rest) > len(id.TrustDomain) && rest[len(id.TrustDomain)] == '/' && rest[:len(id.TrustDomain)] == id.TrustDomain
}

// abroad vouches for a call into another trust domain. A Txn-Token is of its
// trust domain and leaves it for no other: there nobody could verify it, and
// for whom a call is made, and through whom it came, is none of their business.
func (s *Sender) abroad(x *exchange.Exchange, to *exchange.ConnInfo) error {
	key, err := s.keys.For(to.TLS)
	if err != nil {
		return identityFault("no hop token could be signed", err)
	}
	self, err := s.ID.Self()
	if err != nil {
		return identityFault("no identity", err)
	}
	token, err := key.Sign(txntoken.HopClaims{Self: self, Dest: to.PeerID, Deadline: x.Deadline, Retries: x.Spare})
	if err != nil {
		return identityFault("no hop token could be signed", err)
	}
	x.Request.Header.Set(txntoken.HeaderHop, token)
	return nil
}

// Unknown returns which of the SPIFFE IDs or prefixes are of a trust domain that
// is neither the own nor federated: nobody of it ever gets through a handshake.
func (id *Identity) Unknown(patterns []string) (out []string) {
	for _, p := range patterns {
		domain, _, _ := strings.Cut(strings.TrimPrefix(p, "spiffe://"), "/")
		if domain != id.TrustDomain && (id.Federated == nil || !slices.Contains(id.Federated.Names(), domain)) {
			out = append(out, p)
		}
	}
	return out
}

// federation are the readiness checks of further trust domains. None is
// required: the others work without.
func (id *Identity) federation() (checks []admin.Check) {
	if id.Federated == nil {
		return nil
	}
	for _, d := range id.Federated.Domains() {
		c := admin.Check{Name: "federation " + d.TrustDomain, OK: d.Roots > 0 && d.Err == "",
			Detail: fmt.Sprintf("%d roots from %s", d.Roots, d.From)}
		if d.Err != "" {
			c.Detail += "; last error: " + d.Err
		}
		checks = append(checks, c)
	}
	return checks
}
