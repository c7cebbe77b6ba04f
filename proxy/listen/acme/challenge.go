package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// HTTPPrefix is where HTTP-01 challenges are asked for (RFC 8555 section 8.3).
const HTTPPrefix = "/.well-known/acme-challenge/"

// pending are the challenges that wait to be validated. They are in the
// directory too: the CA may ask another process than the one that ordered.
type pending struct {
	storage certmagic.Storage
	issuer  string
	names   []string // what may be asked for at all

	mu   sync.Mutex
	here map[string]waiting // by type and domain
}

type waiting struct {
	challenge acme.Challenge
	cert      *tls.Certificate // of a TLS-ALPN-01 challenge
}

// solver puts challenges of one type where they are found.
type solver struct {
	p    *pending
	kind string
}

// Present implements acmez.Solver.
func (s solver) Present(ctx context.Context, c acme.Challenge) error {
	w := waiting{challenge: c}
	if s.kind == acme.ChallengeTypeTLSALPN01 {
		var err error
		if w.cert, err = acmez.TLSALPN01ChallengeCert(c); err != nil {
			return err
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	name := strings.ToLower(c.Identifier.Value)
	if err := s.p.storage.Store(ctx, s.p.key(s.kind, name), b); err != nil {
		return err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.here == nil {
		s.p.here = map[string]waiting{}
	}
	s.p.here[s.kind+" "+name] = w
	return nil
}

// CleanUp implements acmez.Solver. ctx may have ended.
func (s solver) CleanUp(_ context.Context, c acme.Challenge) error {
	name := strings.ToLower(c.Identifier.Value)
	s.p.mu.Lock()
	delete(s.p.here, s.kind+" "+name)
	s.p.mu.Unlock()
	return s.p.storage.Delete(context.Background(), s.p.key(s.kind, name))
}

func (p *pending) key(kind, name string) string {
	return path.Join("acme", certmagic.StorageKeys.Safe(p.issuer), "challenge_tokens", kind, certmagic.StorageKeys.Safe(name)+".json")
}

// find looks for a challenge that waits for name: nil when there is none.
func (p *pending) find(kind, name string) (*waiting, error) {
	if !slices.Contains(p.names, name) { // nobody makes us look for just any name
		return nil, nil
	}
	p.mu.Lock()
	w, ok := p.here[kind+" "+name]
	p.mu.Unlock()
	if ok {
		return &w, nil
	}
	b, err := p.storage.Load(context.Background(), p.key(kind, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &w.challenge); err != nil {
		return nil, fmt.Errorf("acme: stored challenge for %s: %w", name, err)
	}
	if !strings.EqualFold(w.challenge.Identifier.Value, name) {
		return nil, fmt.Errorf("acme: the challenge stored for %s is another's", name)
	}
	return &w, nil
}

func (p *pending) certificate(serverName string) (*tls.Certificate, error) {
	w, err := p.find(acme.ChallengeTypeTLSALPN01, strings.ToLower(serverName))
	if w == nil || w.cert != nil {
		if w == nil {
			return nil, err
		}
		return w.cert, nil
	}
	return acmez.TLSALPN01ChallengeCert(w.challenge)
}

func (p *pending) answer(host, path string) (string, bool) {
	token, ok := strings.CutPrefix(path, HTTPPrefix)
	if !ok || token == "" {
		return "", false
	}
	w, err := p.find(acme.ChallengeTypeHTTP01, strings.ToLower(host))
	if err != nil || w == nil || w.challenge.Token != token {
		return "", false
	}
	return w.challenge.KeyAuthorization, true
}
