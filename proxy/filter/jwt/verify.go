package jwt

import (
	"context"
	"slices"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/proxy/exchange"
)

// verifier decides whether a token is good.
type verifier struct {
	cfg    *Config
	trusts []*trust
	cache  *cache
	now    func() time.Time
}

// trust is an issuer's rules and keys, which are used for nobody else's tokens.
type trust struct {
	rules   rules
	algs    []string
	sources []*source
}

// trust finds who must have signed the token. What it claims chooses among
// configured issuers; it proves nothing until the signature is by a key of
// that very issuer.
func (v *verifier) trust(issuer string) *trust {
	for _, t := range v.trusts {
		if t.rules.anyIssuer || slices.Contains(t.rules.own.Iss, issuer) {
			return t
		}
	}
	return nil
}

// verify returns what is known of a good token, from memory where it was seen
// before.
func (v *verifier) verify(x *exchange.Exchange, raw string) (*verified, *refusal) {
	if len(raw) > v.cfg.MaxSize {
		return nil, badToken("the token is too long", nil)
	}
	now := v.now()
	if known := v.cache.get(raw, now); known != nil {
		return known, nil
	}
	t, err := parse(raw, v.cfg.Types)
	if err != nil {
		return nil, badToken("the token is malformed", err)
	}
	issuer, _ := t.claims["iss"].(string) // what is no string is no configured name
	in := v.trust(issuer)
	if in == nil {
		return nil, badToken("claim iss is not an accepted issuer", nil)
	}
	if !slices.Contains(in.algs, t.alg) {
		return nil, badToken("the signature algorithm is not an accepted one", nil)
	}
	if ref := in.rules.check(t.claims, now); ref != nil {
		return nil, ref
	}
	by, set, ref := v.signer(x, in, t)
	if ref != nil {
		return nil, ref
	}
	good, ref := in.rules.admit(t.claims)
	if ref != nil {
		return nil, ref
	}
	good.source, good.set = by, set
	if !x.Shadow {
		v.cache.put(raw, good, now)
	}
	return good, nil
}

// signer finds the key that signed t. Where none did, key sets that do not know
// its key id are fetched anew, and tried once more.
func (v *verifier) signer(x *exchange.Exchange, in *trust, t *token) (*source, *keySet, *refusal) {
	by, set, lacking := v.try(in, t)
	if by != nil {
		return by, set, nil
	}
	if len(lacking) > 0 {
		x.NotAsked("the issuer's key set, which does not have this token's key yet")
	}
	if len(lacking) > 0 && !x.Shadow {
		err := x.Await(func(ctx context.Context) error {
			for _, r := range lacking {
				if err := r.refresh(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, nil, noKeys(time.Second, err)
		}
		if by, set, lacking = v.try(in, t); by != nil {
			return by, set, nil
		}
	}
	now := v.now()
	for _, r := range lacking {
		if r.current(now) == nil {
			r.mu.Lock()
			err := r.err
			r.mu.Unlock()
			return nil, nil, noKeys(r.retryIn(now), err)
		}
	}
	return nil, nil, badToken("the signature is not by an accepted key", nil)
}

// try verifies t with every key that may have signed it: of a source that
// speaks for its issuer, made for its algorithm, and with its key id where both
// have one. lacking are the key sets that do not know the key id.
func (v *verifier) try(in *trust, t *token) (by *source, with *keySet, lacking []*Remote) {
	issuer, _ := t.claims["iss"].(string)
	method := gojwt.GetSigningMethod(t.alg)
	now := v.now()
	for _, s := range in.sources {
		if !s.speaksFor(issuer) {
			continue
		}
		set := s.current(now)
		if s.remote != nil && (set == nil || !set.hasID(t.kid)) {
			lacking = append(lacking, s.remote)
		}
		if set == nil {
			continue
		}
		for _, k := range set.keys {
			if t.kid != "" && k.id != "" && t.kid != k.id || !slices.Contains(k.algs, t.alg) {
				continue
			}
			if method.Verify(t.signed, t.sig, k.public) == nil {
				return s, set, nil
			}
		}
	}
	return nil, nil, lacking
}
