package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"
)

// WatchRoots calls update with the Connect CA's trust domain and roots (PEM,
// the active one first) and again with every change; it retries by itself and
// returns only ctx's error.
func (c *Consul) WatchRoots(ctx context.Context, update func(trustDomain string, rootsPEM []string)) error {
	var domain string
	var roots []string
	p := &poll[*api.CARootList]{
		consul: c, ahead: true, about: "roots of the Connect CA", needs: "nothing beyond being valid",
		ask: c.api.Agent().ConnectCARoots,
		answer: func(list *api.CARootList, _ *api.QueryMeta) error {
			if list == nil || len(list.Roots) == 0 || list.TrustDomain == "" {
				return errors.New("expected a trust domain and roots, found none: is connect enabled on the agent?")
			}
			var pems []string
			for _, active := range []bool{true, false} {
				for _, r := range list.Roots {
					if (r.ID == list.ActiveRootID) == active {
						pems = append(pems, r.RootCertPEM)
					}
				}
			}
			if domain != list.TrustDomain || !slices.Equal(roots, pems) {
				domain, roots = list.TrustDomain, pems
				update(domain, slices.Clone(pems))
			}
			return nil
		},
	}
	return p.run(ctx)
}

// WatchLeaf calls update with the service's certificate chain and key (PEM)
// and again with every new one. The agent makes a new one before the old
// expires, and within half a minute of a change of roots; the key never leaves
// this machine's agent but to us.
func (c *Consul) WatchLeaf(ctx context.Context, service string, update func(certPEM, keyPEM []byte)) error {
	if service == "" {
		return errors.New("discovery: a leaf certificate is asked for no service")
	}
	var last []byte
	p := &poll[*api.LeafCert]{
		consul: c, ahead: true, about: fmt.Sprintf("certificate of %q", service), needs: fmt.Sprintf("service:write on %q", service),
		ask: func(o *api.QueryOptions) (*api.LeafCert, *api.QueryMeta, error) {
			return c.api.Agent().ConnectCALeaf(service, o)
		},
		answer: func(leaf *api.LeafCert, _ *api.QueryMeta) error {
			if leaf == nil || leaf.CertPEM == "" || leaf.PrivateKeyPEM == "" {
				return errors.New("expected a certificate and a key, found none")
			}
			if cert := []byte(leaf.CertPEM); !bytes.Equal(cert, last) {
				last = cert
				update(bytes.Clone(cert), []byte(leaf.PrivateKeyPEM))
			}
			return nil
		},
	}
	return p.run(ctx)
}
