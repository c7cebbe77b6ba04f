package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// token is a parsed and not yet verified JWS in compact form (RFC 7515
// section 7.1).
type token struct {
	alg, kid string
	claims   map[string]any
	signed   string // what the signature covers
	sig      []byte
}

// parse splits and decodes raw, strictly: three parts of unpadded base64url
// with no stray bits, so that one token has one spelling.
func parse(raw string, types []string) (*token, error) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return nil, errors.New("a byte outside base64url")
		}
	}
	head, rest, _ := strings.Cut(raw, ".")
	body, sig, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(sig, ".") {
		return nil, errors.New("not three parts separated by dots")
	}
	header, err := part("header", head)
	if err != nil {
		return nil, err
	}
	t := &token{signed: raw[:len(head)+1+len(body)]}
	if err := t.readHeader(header, types); err != nil {
		return nil, err
	}
	if t.claims, err = part("claims", body); err != nil {
		return nil, err
	}
	if t.sig, err = base64.RawURLEncoding.Strict().DecodeString(sig); err != nil || len(t.sig) == 0 {
		return nil, errors.New("the signature is empty or not base64url")
	}
	return t, nil
}

func part(what, s string) (map[string]any, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%s: not base64url", what)
	}
	m, err := decodeObject(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return m, nil
}

// readHeader takes alg and kid, and looks at nothing that could name a key
// from elsewhere.
func (t *token) readHeader(h map[string]any, types []string) error {
	if _, ok := h["crit"]; ok {
		return errors.New("header: crit asks for extensions that are not understood")
	}
	var ok bool
	if t.alg, ok = h["alg"].(string); !ok {
		return errors.New("header: alg is missing or not a string")
	}
	if v, has := h["kid"]; has {
		if t.kid, ok = v.(string); !ok {
			return errors.New("header: kid is not a string")
		}
	}
	if v, has := h["typ"]; has {
		typ, ok := v.(string)
		if !ok {
			return errors.New("header: typ is not a string")
		}
		typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
		if !slices.ContainsFunc(types, func(want string) bool { return strings.EqualFold(want, typ) }) {
			return errors.New("header: typ is not an accepted one")
		}
	}
	return nil
}
