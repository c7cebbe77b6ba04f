package caller

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Caller is who makes a request.
type Caller struct {
	User    string         // "" when it is made for no user
	Issuer  string         // who vouched for the user at the edge; "" with TrustHeaders
	Roles   []string       // the user's
	Scope   []string       // what the transaction may do for the user
	Context map[string]any // claim tctx; nil with TrustHeaders
	Txn     string         // the transaction's id, "" when it has none
	Expires time.Time      // of the Txn-Token; zero with TrustHeaders
	// Chain is the SPIFFE IDs of the services the call came through, oldest
	// first; the last called this app. The sidecar has verified it.
	Chain []string
}

// Service is the SPIFFE ID of the service that called, "" when it is not known.
func (c *Caller) Service() string {
	if len(c.Chain) == 0 {
		return ""
	}
	return c.Chain[len(c.Chain)-1]
}

// Has reports whether the user has a role.
func (c *Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// May reports whether the transaction's scope holds a word.
func (c *Caller) May(word string) bool { return slices.Contains(c.Scope, word) }

// CameThrough reports whether the call came through a service.
func (c *Caller) CameThrough(spiffeID string) bool { return slices.Contains(c.Chain, spiffeID) }

// Errors that Of wraps.
var (
	// ErrInvalid: the request carries something that no sidecar sends. Answer 401.
	ErrInvalid = errors.New("not from the sidecar")
	// ErrKeys: the sidecar does not tell its keys at the moment. Answer 503.
	ErrKeys = errors.New("the sidecar's keys cannot be had")
)

// Source finds out who makes a request. It is safe for concurrent use.
type Source struct {
	keys   *keys // nil: the headers are trusted
	parser *jwt.Parser
}

// FromSidecar verifies the Txn-Token of each request by the keys of the
// sidecar's admin API (admin.address), which must be on loopback. It asks for
// them when they are first needed.
func FromSidecar(admin, trustDomain string) *Source {
	return &Source{keys: newKeys(admin, trustDomain), parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "PS256", "EdDSA"}), jwt.WithAudience(trustDomain),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second), jwt.WithStrictDecoding())}
}

// TrustHeaders believes the X-User-… headers as they come. Only requests from
// this very machine are believed: make sure that nothing but the sidecar
// reaches the app's port.
func TrustHeaders() *Source { return &Source{} }

// Of returns who makes r. A request without a Txn-Token is made for no user,
// which is no error. Errors wrap ErrInvalid or ErrKeys.
func (s *Source) Of(r *http.Request) (*Caller, error) {
	c := &Caller{}
	near := loopback(r.RemoteAddr)
	if near {
		chain, err := one(r, "X-Lintel-Chain")
		if err != nil {
			return nil, err
		}
		c.Chain = split(chain, ",")
	}
	if s.keys != nil {
		return c, s.verify(r, c)
	}
	if !near {
		return nil, fmt.Errorf("caller: headers from %s, which is another machine: %w", r.RemoteAddr, ErrInvalid)
	}
	for name, into := range map[string]func(string){
		"X-User-Id":    func(v string) { c.User = v },
		"X-User-Roles": func(v string) { c.Roles = split(v, ",") },
		"X-User-Scope": func(v string) { c.Scope = split(v, " ") },
		"X-Lintel-Txn": func(v string) { c.Txn = v },
	} {
		v, err := one(r, name)
		if err != nil {
			return nil, err
		}
		into(v)
	}
	return c, nil
}

// one returns a header that must not stand there twice.
func one(r *http.Request, name string) (string, error) {
	switch v := r.Header[http.CanonicalHeaderKey(name)]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	}
	return "", fmt.Errorf("caller: %s stands there twice: %w", name, ErrInvalid)
}

func split(s, sep string) (out []string) {
	for part := range strings.SplitSeq(s, sep) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func loopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

type claims struct {
	jwt.RegisteredClaims
	Txn   string         `json:"txn"`
	Scope string         `json:"scope"`
	Tctx  map[string]any `json:"tctx"`
}

func (s *Source) verify(r *http.Request, c *Caller) error {
	token, err := one(r, "Txn-Token")
	if err != nil || token == "" {
		return err
	}
	if len(token) > 16<<10 {
		return fmt.Errorf("caller: the Txn-Token has %d bytes: %w", len(token), ErrInvalid)
	}
	said := &claims{}
	if _, _, err := s.parser.ParseUnverified(token, said); err == nil && strings.HasPrefix(strings.ToLower(said.Subject), "spiffe://") {
		// A workload speaks for itself. Who that is the chain says; such tokens are
		// signed with keys that are not in the set, so nothing else of it counts.
		return nil
	}
	said = &claims{}
	if _, err := s.parser.ParseWithClaims(token, said, func(t *jwt.Token) (any, error) {
		if t.Header["typ"] != "txntoken+jwt" {
			return nil, errors.New("typ is not txntoken+jwt")
		}
		kid, _ := t.Header["kid"].(string)
		return s.keys.find(r.Context(), kid, t.Method.Alg())
	}); err != nil {
		if errors.Is(err, ErrKeys) {
			return fmt.Errorf("caller: %w", err)
		}
		return fmt.Errorf("caller: Txn-Token: %w: %w", ErrInvalid, err)
	}
	if said.Subject == "" || said.Txn == "" {
		return fmt.Errorf("caller: Txn-Token: sub or txn is missing: %w", ErrInvalid)
	}
	c.User, c.Txn, c.Context, c.Scope, c.Expires = said.Subject, said.Txn, said.Tctx, strings.Fields(said.Scope), said.ExpiresAt.Time
	c.Issuer, _ = said.Tctx["sub_iss"].(string)
	list, _ := said.Tctx["roles"].([]any)
	for _, e := range list {
		if role, ok := e.(string); ok {
			c.Roles = append(c.Roles, role)
		}
	}
	return nil
}
