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

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
	"lintel.dev/lintel/proxy/filter/credential"
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
	for _, issuer := range cfg.trusted() {
		if len(issuer.Audiences) == 0 {
			log.Warn("jwt: no audiences configured: tokens that the issuer made for other services are accepted", "route", env.Route, "issuer", issuer.Iss)
		}
	}
	f := &Filter{
		place: cfg.place(), forward: cfg.Forward, anonymous: cfg.Anonymous == "allow",
		realm: cfg.Realm, scopeList: strings.Join(cfg.Scopes, " "),
	}
	err := f.place.Check()
	if err != nil {
		return nil, err
	}
	if f.known, err = consumer.Known(env); err != nil {
		return nil, err
	}
	if f.claimed, err = claimHeaders(cfg.ClaimsToHeaders, f.place.Header); err != nil {
		return nil, err
	}
	f.verifier = verifier{cfg: &cfg, now: time.Now}
	for i, issuer := range cfg.trusted() {
		t := &trust{rules: rules{all: &cfg, own: issuer, anyIssuer: slices.Equal(issuer.Iss, []string{"any"})}}
		if err := t.readKeys(&issuer, cfg.at(i), cfg.JWKS.Insecure); err != nil {
			return nil, err
		}
		f.trusts = append(f.trusts, t)
	}
	return f, f.lease(&cfg, env, log)
}

// place is where the token is looked for.
func (c *Config) place() credential.Place {
	p := credential.Place{Header: c.Header, Prefix: c.Prefix, Cookie: c.Cookie, Query: c.Query}
	switch {
	case c.Header == credential.Off:
		p.Header = ""
	case c.Prefix == "":
		p.Prefix, p.Bare = "Bearer", !exchange.EqualFold(c.Header, "Authorization")
	}
	return p
}

// at is where issuer i stands in the section.
func (c *Config) at(i int) string {
	if len(c.Issuers) == 0 {
		return ""
	}
	return fmt.Sprintf("issuers[%d].", i)
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
	for n, t := range f.trusts {
		for i, src := range t.sources {
			if address := t.rules.own.Keys[i].JWKSURL; address != "" {
				src.remote, err = store.Use(env.Store, "jwks/"+address, fetching, func() (*Remote, error) { return newRemote(address, c.JWKS, log) })
				if err != nil {
					return filter.Errorf(fmt.Sprintf("%skeys[%d].jwks_url", c.at(n), i), "%s", strings.TrimPrefix(err.Error(), "jwt: "))
				}
				continue
			}
			for _, k := range src.static.keys {
				prints = append(prints, k.print[:]...)
				prints = append(prints, k.id...)
			}
		}
	}
	if c.Deny != nil {
		if err := f.leaseDenials(c.Deny, env, log); err != nil {
			return err
		}
	}
	all, err := fingerprint(c, prints)
	if err != nil {
		return err
	}
	f.cache, err = store.Use(env.Store, "jwt-tokens/"+all[:16], all, func() (*cache, error) { return newCache(c.CacheSize), nil })
	return err
}

func (f *Filter) leaseDenials(c *Deny, env *filter.Env, log *slog.Logger) error {
	if c.File != "" {
		list, err := store.Use(env.Store, "jwt-deny/"+c.File, "", func() (*denyFile, error) { return newDenyFile(c.File, log) })
		if err != nil {
			return filter.Errorf("deny.file", "%s", err)
		}
		f.denials = append(f.denials, denials{Denials: list})
	}
	if c.Redis == "" {
		return nil
	}
	redis, err := env.Redis(c.Redis)
	if err != nil {
		return filter.Errorf("deny.redis", "%s", err)
	}
	list, err := store.Use(env.Store, DenyStore+c.Redis+"/"+c.Key, fmt.Sprintf("%p/%s", redis, c.Every), func() (*RedisDenials, error) {
		return newRedisDenials(redis, c.Key, c.Every, log), nil
	})
	if err != nil {
		return filter.Errorf("deny.redis", "%s", err)
	}
	d := denials{Denials: list}
	if c.OnStoreError == "closed" {
		d.maxStale = c.MaxStale
	}
	f.denials = append(f.denials, d)
	return nil
}

// DenyStore begins the names of deny lists in Redis in the store.
const DenyStore = "jwt-deny-redis/"

// fingerprint is a hash of settings and further bytes; it gives away neither.
func fingerprint(settings any, more []byte) (string, error) {
	b, err := json.Marshal(settings)
	if err != nil {
		return "", fmt.Errorf("jwt: %w", err)
	}
	sum := sha256.Sum256(append(b, more...))
	return hex.EncodeToString(sum[:]), nil
}
