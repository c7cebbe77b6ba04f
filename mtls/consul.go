package mtls

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ConnectCA is Consul's certificate authority as this package needs it. Both
// methods call update with every new state, the first included, block until
// ctx ends and retry by themselves.
type ConnectCA interface {
	// WatchLeaf follows the leaf of service: the chain (leaf first, then
	// intermediates) and its key, PEM.
	WatchLeaf(ctx context.Context, service string, update func(certPEM, keyPEM []byte)) error
	// WatchRoots follows the roots, the active and those still trusted during
	// a rotation, and the trust domain they stand for.
	WatchRoots(ctx context.Context, update func(trustDomain string, rootsPEM []string)) error
}

// ConsulConfig says whose leaf to take from Consul's Connect CA.
type ConsulConfig struct {
	CA      ConnectCA
	Service string        // the service this process stands for
	Wait    time.Duration // for the first leaf and roots; DefaultWait
	Waiting func(string)  // told once a second what is awaited and why it has not come; may be nil
	Log     *slog.Logger
}

type consulSource struct {
	*held
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows: leaf and roots come from two watches
	leaf     *x509svid.SVID
	used     *x509svid.SVID // the newest leaf that verified against its roots
	roots    *x509bundle.Bundle
	leafErr  error // why the latest leaf was not taken
	rootsErr error // why the latest roots were not taken
}

// Consul follows leaf and roots of Consul's Connect CA and waits, bounded by
// cfg.Wait and ctx, until both are there and fit together.
func Consul(ctx context.Context, cfg ConsulConfig) (Source, error) {
	if cfg.CA == nil || cfg.Service == "" {
		return nil, errors.New("mtls: the Consul identity source needs a Connect CA and the name of the service it stands for")
	}
	run, cancel := context.WithCancel(context.Background())
	s := &consulSource{held: newHeld("consul", cfg.Log), cancel: cancel}
	s.tell = cfg.Waiting
	s.wg.Go(func() {
		s.follow(run, "leaf", func(ctx context.Context) error {
			return cfg.CA.WatchLeaf(ctx, cfg.Service, s.onLeaf)
		})
	})
	s.wg.Go(func() {
		s.follow(run, "roots", func(ctx context.Context) error {
			return cfg.CA.WatchRoots(ctx, s.onRoots)
		})
	})
	err := s.await(ctx, cfg.Wait, fmt.Sprintf("Consul's Connect CA (leaf of service %q and roots)", cfg.Service),
		"is the agent reachable, connect { enabled = true } set on the servers, and service:write allowed by the ACL token?")
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close implements Source.
func (s *consulSource) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// follow begins a watch again should it end while it must not.
func (s *consulSource) follow(ctx context.Context, what string, watch func(context.Context) error) {
	var delay retry
	for {
		began := time.Now()
		err := watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it returned without an error")
		}
		s.fail(fmt.Errorf("the watch of the Connect CA's %s ended and is begun again: %w", what, err))
		if time.Since(began) > time.Minute {
			delay.Reset()
		}
		select {
		case <-time.After(delay.Next()):
		case <-ctx.Done():
			return
		}
	}
}

func (s *consulSource) onLeaf(certPEM, keyPEM []byte) {
	svid, err := parseSVID(certPEM, keyPEM)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.leafErr = fmt.Errorf("Consul's leaf is unusable: %w", err)
		s.fail(s.trouble())
		return
	}
	s.leaf, s.leafErr = svid, nil
	s.publish()
}

func (s *consulSource) onRoots(trustDomain string, rootsPEM []string) {
	roots, err := parseRoots(trustDomain, rootsPEM)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.rootsErr = fmt.Errorf("Consul's roots are unusable: %w", err)
		s.fail(s.trouble())
		return
	}
	s.roots, s.rootsErr = roots, nil
	s.publish()
}

// trouble joins what is wrong, so that good news of one watch does not hide
// the bad news of the other.
func (s *consulSource) trouble() error { return errors.Join(s.leafErr, s.rootsErr) }

// publish offers leaf and roots once both are there. A leaf that does not
// verify against the roots (the other watch is about to bring its half of a
// rotation) is not used yet; the one before stays, with the new roots.
func (s *consulSource) publish() {
	if s.leaf == nil || s.roots == nil {
		return
	}
	trouble := s.trouble()
	if _, _, err := x509svid.Verify(s.leaf.Certificates, s.roots); err == nil {
		s.used = s.leaf
	} else {
		trouble = errors.Join(trouble, fmt.Errorf("the leaf of %s does not verify against the roots of trust domain %s (yet): %w",
			s.leaf.ID, s.roots.TrustDomain(), err))
	}
	if s.used == nil {
		s.fail(trouble)
		return
	}
	s.set(s.used, s.roots, trouble)
}

func parseSVID(certPEM, keyPEM []byte) (*x509svid.SVID, error) {
	var chain []byte
	for block, rest := pem.Decode(certPEM); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes...)
		}
	}
	if chain == nil {
		return nil, errors.New("no CERTIFICATE block in the leaf's PEM")
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return x509svid.ParseRaw(chain, key)
}

// parseKey returns PKCS #8, as go-spiffe wants it. Consul sends SEC 1.
func parseKey(keyPEM []byte) ([]byte, error) {
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			return block.Bytes, nil
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue // EC PARAMETERS, for one
		}
		if err != nil {
			return nil, fmt.Errorf("private key (%s): %w", block.Type, err)
		}
		return x509.MarshalPKCS8PrivateKey(key)
	}
	return nil, errors.New("no private key in the key's PEM: expected PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY")
}

func parseRoots(trustDomain string, rootsPEM []string) (*x509bundle.Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(trustDomain)
	if err != nil {
		return nil, fmt.Errorf("trust domain %q: %w", trustDomain, err)
	}
	bundle := x509bundle.New(td)
	for i, r := range rootsPEM {
		for block, rest := pem.Decode([]byte(r)); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("root %d of %d: %w", i+1, len(rootsPEM), err)
			}
			bundle.AddX509Authority(cert)
		}
	}
	if bundle.Empty() {
		return nil, fmt.Errorf("no certificate among %d roots", len(rootsPEM))
	}
	return bundle, nil
}
