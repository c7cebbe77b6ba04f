package jwt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// check finds what the tags cannot say.
func (c *Config) check() error {
	if c.Anonymous != "deny" && c.Anonymous != "allow" {
		return filter.Errorf("anonymous", "is %q, want deny or allow", c.Anonymous)
	}
	if quoted(c.Realm) {
		return filter.Errorf("realm", "must not hold quotes, backslashes or control characters")
	}
	for i, s := range c.Scopes {
		if s == "" || quoted(s) || strings.Contains(s, " ") {
			return filter.Errorf(fmt.Sprintf("scopes[%d]", i), "%q is no scope: want one word without quotes (RFC 6749 section 3.3)", s)
		}
	}
	if c.Leeway < 0 || c.Leeway > 5*time.Minute {
		return filter.Errorf("leeway", "is %s, want 0s to 5m", c.Leeway)
	}
	if c.MaxSize < 0 || c.CacheSize < 0 {
		return filter.Errorf("", "max_size and cache_size are sizes in bytes: want them positive")
	}
	j := c.JWKS
	if j.Refresh < 0 || j.MinRefresh < 0 || j.Timeout < 0 || j.MaxStale < 0 || j.MaxBytes < 0 {
		return filter.Errorf("jwks", "durations and sizes must be positive")
	}
	if err := c.Deny.check(); err != nil {
		return err
	}
	if len(c.Issuers) == 0 {
		one := c.trusted()[0]
		return one.check("")
	}
	return c.checkIssuers()
}

func (d *Deny) check() error {
	switch {
	case d == nil:
		return nil
	case d.File == "" && d.Redis == "":
		return filter.Errorf("deny", "names no list: want file or redis, or both")
	case d.Redis != "" && d.OnStoreError == "":
		return filter.Errorf("deny.on_store_error", "missing: say what happens while Redis cannot be asked for what is new. "+
			"closed refuses every token with 503 after max_stale, open goes by what is known")
	case d.Redis == "" && d.OnStoreError != "":
		return filter.Errorf("deny.on_store_error", "found %q, but there is no list in Redis: say redis, or leave it out", d.OnStoreError)
	}
	return nil
}

// checkIssuers refuses whatever would leave two entries to judge one token.
func (c *Config) checkIssuers() error {
	var plain Mapping
	plain.defaults()
	switch {
	case len(c.Iss) > 0:
		return filter.Errorf("iss", "is given and issuers too: want one of the two")
	case len(c.Keys) > 0:
		return filter.Errorf("keys", "is given and issuers too: want the keys with the issuer they belong to")
	case len(c.Algorithms) > 0:
		return filter.Errorf("algorithms", "is given and issuers too: want it with an issuer")
	case c.Identity != plain:
		return filter.Errorf("identity", "is given and issuers too: want it with an issuer")
	}
	var names []string
	for i, issuer := range c.Issuers {
		at := fmt.Sprintf("issuers[%d].", i)
		if err := issuer.check(at); err != nil {
			return err
		}
		for _, name := range issuer.Iss {
			if name == "any" {
				return filter.Errorf(at+"iss", "any accepts every issuer and cannot be one of several")
			}
			if slices.Contains(names, name) {
				return filter.Errorf(at+"iss", "%q is named twice: which keys are good for it must be said once", name)
			}
			names = append(names, name)
		}
	}
	return nil
}

func (i *Issuer) check(at string) error {
	if len(i.Iss) == 0 {
		return filter.Errorf(at+"iss", "is empty: name the issuers whose tokens are accepted, or say any")
	}
	if len(i.Iss) > 1 && slices.Contains(i.Iss, "any") {
		return filter.Errorf(at+"iss", "any accepts every issuer: it stands alone")
	}
	if len(i.Keys) == 0 {
		return filter.Errorf(at+"keys", "is empty: want at least one of file, public_key, secret or jwks_url")
	}
	for n, k := range i.Keys {
		path := fmt.Sprintf("%skeys[%d]", at, n)
		given := 0
		for _, s := range []string{k.File, k.PublicKey, k.Secret, k.JWKSURL} {
			if s != "" {
				given++
			}
		}
		if given != 1 {
			return filter.Errorf(path, "has %d of file, public_key, secret and jwks_url: want exactly one", given)
		}
		for _, iss := range k.Iss {
			if !slices.Contains(i.Iss, iss) && i.Iss[0] != "any" {
				return filter.Errorf(path+".iss", "%q is not among the accepted issuers %q", iss, i.Iss)
			}
		}
		if len(i.Iss) > 1 && len(i.Keys) > 1 && len(k.Iss) == 0 {
			return filter.Errorf(path+".iss", "is empty: with several issuers and several keys each key must say for whom it speaks, or one issuer could sign in another's name")
		}
	}
	return nil
}

// quoted reports whether s needs quoting inside a quoted-string.
func quoted(s string) bool {
	return strings.ContainsAny(s, `"\`) || printable(s) != s
}

// claimHeaders compiles the names that claims are written to. The edge's own
// identity headers may be among them: here they come from a verified token.
func claimHeaders(m map[string]string, credential string) (*firewall.Set, error) {
	var names []string
	for name, path := range m {
		at := "claims_to_headers." + name
		if _, err := firewall.NewSet(name); err != nil || strings.Contains(name, "*") {
			return nil, filter.Errorf(at, "%q is no header name", name)
		}
		switch strings.ToLower(name) {
		case "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
			"proxy-connection", "expect", "cookie", "txn-token", "hop-token":
			return nil, filter.Errorf(at, "%s is written by Lintel itself and cannot carry a claim", name)
		}
		if path == "" {
			return nil, filter.Errorf(at, "names no claim")
		}
		for _, other := range names {
			if exchange.EqualFold(other, name) {
				return nil, filter.Errorf(at, "%s and %s are one header", other, name)
			}
		}
		names = append(names, name)
	}
	if names == nil {
		return nil, nil
	}
	set, err := firewall.NewSet(names...)
	if err == nil && credential != "" && set.Match(credential) {
		return nil, filter.Errorf("claims_to_headers", "%s is where the token itself is looked for", credential)
	}
	return set, err
}
