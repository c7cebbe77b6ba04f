package jwt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func build(c *Config, env *filter.Env) (any, error) {
	cfg := *c
	cfg.defaults()
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if len(cfg.Audiences) == 0 {
		log.Warn("jwt: no audiences configured: tokens that the issuer made for other services are accepted", "route", env.Route)
	}
	f := &Filter{
		header: cfg.Header, forward: cfg.Forward, anonymous: cfg.Anonymous == "allow",
		realm: cfg.Realm, scopeList: strings.Join(cfg.Scopes, " "), consumers: map[string]string{},
	}
	for _, consumer := range env.Consumers {
		f.consumers[consumer.Name] = consumer.Name
	}
	var err error
	if f.claimed, err = claimHeaders(cfg.ClaimsToHeaders, cfg.Header); err != nil {
		return nil, err
	}
	f.verifier = verifier{rules: rules{Config: &cfg, anyIssuer: slices.Equal(cfg.Iss, []string{"any"})}, now: time.Now}
	if err := f.readKeys(&cfg); err != nil {
		return nil, err
	}
	return f, f.lease(&cfg, env, log)
}

// lease takes the key sets and the cache of verified tokens from the store, so
// that they survive a reload that changes neither.
func (f *Filter) lease(c *Config, env *filter.Env, log *slog.Logger) error {
	var ca []byte
	if c.JWKS.CAFile != "" {
		var err error
		if ca, err = os.ReadFile(c.JWKS.CAFile); err != nil {
			return filter.Errorf("jwks.ca_file", "%s", err)
		}
	}
	fetching, err := fingerprint(c.JWKS, ca)
	if err != nil {
		return err
	}
	prints := ca
	for i, src := range f.sources {
		if address := c.Keys[i].JWKSURL; address != "" {
			src.remote, err = store.Use(env.Store, "jwks/"+address, fetching, func() (*Remote, error) { return newRemote(address, c.JWKS, log) })
			if err != nil {
				return filter.Errorf(fmt.Sprintf("keys[%d].jwks_url", i), "%s", strings.TrimPrefix(err.Error(), "jwt: "))
			}
			continue
		}
		for _, k := range src.static.keys {
			prints = append(prints, k.print[:]...)
			prints = append(prints, k.id...)
		}
	}
	all, err := fingerprint(c, prints)
	if err != nil {
		return err
	}
	f.cache, err = store.Use(env.Store, "jwt-tokens/"+all[:16], all, func() (*cache, error) { return newCache(c.CacheSize), nil })
	return err
}

// fingerprint is a hash of settings and further bytes; it gives away neither.
func fingerprint(settings any, more []byte) (string, error) {
	b, err := json.Marshal(settings)
	if err != nil {
		return "", fmt.Errorf("jwt: %w", err)
	}
	sum := sha256.Sum256(append(b, more...))
	return hex.EncodeToString(sum[:]), nil
}
