package jwt

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/filter"
)

// maxFile bounds a key file, in bytes.
const maxFile = 1 << 20

// readKeys reads what is configured in place, and decides the algorithms. at is
// where the issuer stands in the section.
func (t *trust) readKeys(c *Issuer, at string, insecure bool) error {
	secret, public := -1, -1
	for i, k := range c.Keys {
		path := fmt.Sprintf("%skeys[%d]", at, i)
		src := &source{issuers: k.Iss}
		if k.Secret != "" {
			secret = i
		} else {
			public = i
		}
		if k.JWKSURL != "" {
			u, err := url.Parse(k.JWKSURL)
			if err == nil {
				err = checkURL(u, insecure)
			}
			if err != nil {
				return filter.Errorf(path+".jwks_url", "%s", err)
			}
		} else {
			keys, err := k.read(path)
			if err != nil {
				return err
			}
			if src.static, err = k.static(path, keys, c.Algorithms); err != nil {
				return err
			}
		}
		t.sources = append(t.sources, src)
	}
	if secret >= 0 && public >= 0 {
		return filter.Errorf(fmt.Sprintf("%skeys[%d].secret", at, secret), "a shared secret beside the public keys of keys[%d] invites confusing the two: use an issuer or a filter for each", public)
	}
	for i, a := range c.Algorithms {
		path := fmt.Sprintf("%salgorithms[%d]", at, i)
		switch {
		case !slices.Contains(algorithms(), a):
			return filter.Errorf(path, "%q is not one of %v", a, algorithms())
		case strings.HasPrefix(a, "HS") && public >= 0:
			return filter.Errorf(path, "%s is for shared secrets and keys[%d] is public: anyone who knows it could sign", a, public)
		case !strings.HasPrefix(a, "HS") && secret >= 0:
			return filter.Errorf(path, "%s needs public keys and keys[%d] is a shared secret", a, secret)
		}
	}
	if t.algs = c.Algorithms; len(t.algs) == 0 {
		t.algs = slices.DeleteFunc(algorithms(), func(a string) bool { return strings.HasPrefix(a, "HS") != (secret >= 0) })
	}
	return nil
}

func algorithms() []string {
	return []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (k *Key) read(path string) ([]*key, error) {
	switch {
	case k.Secret != "":
		s, err := newSecret(k.Secret)
		if err != nil {
			return nil, filter.Errorf(path+".secret", "%s", err)
		}
		return []*key{s}, nil
	case k.PublicKey != "":
		keys, err := parseKeys([]byte(k.PublicKey))
		if err != nil {
			return nil, filter.Errorf(path+".public_key", "%s", err)
		}
		return keys, nil
	}
	info, err := os.Stat(k.File)
	if err == nil && (info.IsDir() || info.Size() > maxFile) {
		err = fmt.Errorf("%s is a folder or over %d bytes", k.File, maxFile)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(k.File)
	}
	var keys []*key
	if err == nil {
		keys, err = parseKeys(data)
	}
	if err != nil {
		return nil, filter.Errorf(path+".file", "%s", err)
	}
	return keys, nil
}

// static binds the configured kid and refuses a key that no accepted algorithm
// could ever use.
func (k *Key) static(path string, keys []*key, algs []string) (*keySet, error) {
	if k.KID != "" {
		if len(keys) != 1 || keys[0].id != "" && keys[0].id != k.KID {
			return nil, filter.Errorf(path+".kid", "is for a single key that carries no other kid itself")
		}
		keys[0].id = k.KID
	}
	for _, got := range keys {
		if len(algs) > 0 && !slices.ContainsFunc(got.algs, func(a string) bool { return slices.Contains(algs, a) }) {
			return nil, filter.Errorf(path, "the key can be used with %v and algorithms accepts %v (HS384 and HS512 need secrets of 48 and 64 bytes)", got.algs, algs)
		}
	}
	return &keySet{keys}, nil
}
