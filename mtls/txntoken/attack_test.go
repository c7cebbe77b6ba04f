package txntoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// scene is a trust domain with everything an attacker could wish for.
type scene struct {
	c                             *clock
	root, foreign                 *ca
	ingress, orders, evil, twin   *x509svid.SVID
	v                             *Verifier
	header, payload               map[string]any // of a token that verifies
	selfHeader                    map[string]any
	good                          string
	signIngress, signOrders, none func([]byte) []byte
}

func newScene(t testing.TB) *scene {
	s := &scene{c: newClock(), root: newCA(t, "root"), foreign: newCA(t, "root")}
	s.ingress, s.orders = s.root.issue(ingressID, nil), s.root.issue(ordersID, nil)
	s.evil = s.root.issue("spiffe://prod/ns/other/evil", nil)
	s.twin = s.foreign.issue(ingressID, nil)
	s.v = newTestVerifier(t, s.root.bundle("prod"), s.c)
	now := s.c.now().Unix()
	s.header = map[string]any{"alg": "ES256", "typ": typTxn, "x5c": x5cOf(s.ingress.Certificates[0])}
	s.selfHeader = map[string]any{"alg": "ES256", "typ": typTxn, "x5c": x5cOf(s.orders.Certificates[0])}
	s.payload = map[string]any{
		"iat": now, "exp": now + 15, "aud": "prod", "txn": "1", "sub": "alice", "scope": "read",
		"req_wl": ingressID, "tctx": map[string]any{"roles": []string{"user"}},
	}
	s.signIngress, s.signOrders = signWith(t, s.ingress.PrivateKey), signWith(t, s.orders.PrivateKey)
	s.none = func([]byte) []byte { return []byte("x") }
	s.good = forge(t, s.header, s.payload, s.signIngress)
	return s
}

func with(m map[string]any, kv ...any) map[string]any {
	c := maps.Clone(m)
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == nil {
			delete(c, kv[i].(string))
		} else {
			c[kv[i].(string)] = kv[i+1]
		}
	}
	return c
}

func TestAttacksAreRefused(t *testing.T) {
	s := newScene(t)
	if _, err := s.v.Verify(s.good); err != nil {
		t.Fatalf("the token every attack starts from must verify: %v", err)
	}
	now := s.c.now().Unix()
	p := strings.Split(s.good, ".")
	header := func(kv ...any) string { return forge(t, with(s.header, kv...), s.payload, s.signIngress) }
	claim := func(kv ...any) string { return forge(t, s.header, with(s.payload, kv...), s.signIngress) }
	by := func(svid *x509svid.SVID, h map[string]any) string {
		return forge(t, h, s.payload, signWith(t, svid.PrivateKey))
	}
	chain := func(svid *x509svid.SVID, certs ...*x509.Certificate) string {
		return by(svid, with(s.header, "x5c", x5cOf(certs...)))
	}
	inter := s.root.sub("intermediate")
	below := inter.issue(ingressID, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSVID := s.root.issue(ingressID, rsaKey)
	rs256 := func(in []byte) []byte {
		d := sha256.Sum256(in)
		sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, d[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	der := func(in []byte) []byte {
		d := sha256.Sum256(in)
		sig, err := ecdsa.SignASN1(rand.Reader, s.ingress.PrivateKey.(*ecdsa.PrivateKey), d[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	hs256 := func(key []byte) func([]byte) []byte {
		return func(in []byte) []byte {
			m := hmac.New(sha256.New, key)
			m.Write(in)
			return m.Sum(nil)
		}
	}
	leaf := s.ingress.Certificates[0]
	spki, err := x509.MarshalPKIXPublicKey(leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	caLeaf := s.root.issue(ingressID, nil, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	certSign := s.root.issue(ingressID, nil, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })
	noSign := s.root.issue(ingressID, nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })
	past := s.root.issue(ingressID, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
	soon := s.root.issue(ingressID, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * time.Second) })
	twoIDs := s.root.issue(ingressID, nil, func(c *x509.Certificate) {
		c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "prod", Path: "/x"})
	})
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Logf("no weak RSA key to try: %v", err)
	}
	raw := mustJSON(t, s.payload)
	rawHeader := mustJSON(t, s.header)
	self := func(kv ...any) string {
		return forge(t, s.selfHeader, with(with(s.payload, "sub", ordersID, "scope", nil, "tctx", nil), kv...), s.signOrders)
	}
	if _, err := s.v.Verify(self()); err != nil {
		t.Fatalf("the self token must verify: %v", err)
	}

	attacks := map[string]struct {
		token string
		want  error
	}{
		"empty":                     {"", ErrInvalid},
		"one part":                  {p[0], ErrInvalid},
		"two parts":                 {p[0] + "." + p[1], ErrInvalid},
		"four parts":                {s.good + ".x", ErrInvalid},
		"no signature":              {p[0] + "." + p[1] + ".", ErrInvalid},
		"no header":                 {"." + p[1] + "." + p[2], ErrInvalid},
		"no payload":                {p[0] + ".." + p[2], ErrInvalid},
		"line break":                {p[0] + "." + p[1] + "\n." + p[2], ErrInvalid},
		"trailing space":            {s.good + " ", ErrInvalid},
		"padding":                   {s.good + "==", ErrInvalid},
		"other alphabet":            {strings.Replace(s.good, p[2], "+/"+p[2][2:], 1), ErrInvalid},
		"huge":                      {s.good + strings.Repeat("A", MaxTxnBytes), ErrInvalid},
		"payload of another":        {p[0] + "." + strings.Split(claim("sub", "root"), ".")[1] + "." + p[2], ErrInvalid},
		"header of another":         {strings.Split(self(), ".")[0] + "." + p[1] + "." + p[2], ErrInvalid},
		"signature of another":      {p[0] + "." + p[1] + "." + strings.Split(claim("sub", "root"), ".")[2], ErrInvalid},
		"signature cut":             {s.good[:len(s.good)-4], ErrInvalid},
		"zero signature":            {p[0] + "." + p[1] + "." + b64.EncodeToString(make([]byte, 64)), ErrInvalid},
		"DER signature":             {forge(t, s.header, s.payload, der), ErrInvalid},
		"alg none":                  {forge(t, with(s.header, "alg", "none"), s.payload, s.none), ErrInvalid},
		"alg none signed":           {header("alg", "none"), ErrInvalid},
		"alg absent":                {header("alg", nil), ErrInvalid},
		"alg list":                  {header("alg", []string{"ES256"}), ErrInvalid},
		"HS256 with the cert":       {forge(t, with(s.header, "alg", "HS256"), s.payload, hs256(leaf.Raw)), ErrInvalid},
		"HS256 with the key":        {forge(t, with(s.header, "alg", "HS256"), s.payload, hs256(spki)), ErrInvalid},
		"ES256 with an HMAC":        {forge(t, s.header, s.payload, hs256(spki)), ErrInvalid},
		"RS256 for an EC key":       {forge(t, with(s.header, "alg", "RS256"), s.payload, rs256), ErrInvalid},
		"ES256 for an RSA key":      {forge(t, with(s.header, "x5c", x5cOf(rsaSVID.Certificates[0])), s.payload, rs256), ErrInvalid},
		"RS256 for an RSA key":      {forge(t, with(s.header, "alg", "RS256", "x5c", x5cOf(rsaSVID.Certificates[0])), s.payload, rs256), ErrInvalid},
		"PS256 with PKCS1":          {forge(t, with(s.header, "alg", "PS256", "x5c", x5cOf(rsaSVID.Certificates[0])), s.payload, rs256), ErrInvalid},
		"ES384 for a P-256 key":     {header("alg", "ES384"), ErrInvalid},
		"typ JWT":                   {header("typ", "JWT"), ErrInvalid},
		"typ hop":                   {header("typ", "hop+jwt"), ErrInvalid},
		"typ absent":                {header("typ", nil), ErrInvalid},
		"crit":                      {header("crit", []string{"exp"}), ErrInvalid},
		"b64 false":                 {header("b64", false), ErrInvalid},
		"jku":                       {header("jku", "https://evil.example/jwks"), ErrInvalid},
		"x5u":                       {header("x5u", "https://evil.example/x"), ErrInvalid},
		"jwk":                       {header("jwk", map[string]any{"kty": "EC"}), ErrInvalid},
		"zip":                       {header("zip", "DEF"), ErrInvalid},
		"alg twice":                 {forge(t, `{"alg":"none",`+rawHeader[1:], s.payload, s.signIngress), ErrInvalid},
		"header no object":          {forge(t, `[]`, s.payload, s.signIngress), ErrInvalid},
		"header trailing":           {forge(t, rawHeader+`{}`, s.payload, s.signIngress), ErrInvalid},
		"x5c absent":                {header("x5c", nil), ErrInvalid},
		"x5c empty":                 {header("x5c", []string{}), ErrInvalid},
		"x5c string":                {header("x5c", x5cOf(leaf)[0]), ErrInvalid},
		"x5c garbage":               {header("x5c", []string{"AAAA"}), ErrInvalid},
		"x5c not base64":            {header("x5c", []string{"%%%"}), ErrInvalid},
		"x5c with line break":       {header("x5c", []string{x5cOf(leaf)[0] + "\n"}), ErrInvalid},
		"x5c root only":             {forge(t, with(s.header, "x5c", x5cOf(s.root.cert)), s.payload, signWith(t, s.root.key)), ErrInvalid},
		"x5c with the root":         {chain(s.ingress, leaf, s.root.cert), ErrInvalid},
		"x5c extra certificate":     {chain(s.ingress, leaf, s.orders.Certificates[0]), ErrInvalid},
		"x5c foreign intermediate":  {chain(s.ingress, leaf, s.foreign.cert), ErrInvalid},
		"x5c leaf second":           {chain(s.ingress, inter.cert, leaf), ErrInvalid},
		"x5c too many":              {chain(s.ingress, leaf, leaf, leaf, leaf, leaf, leaf), ErrInvalid},
		"x5c leaf swapped":          {chain(s.evil, leaf), ErrInvalid},
		"x5c intermediate missing":  {chain(below, below.Certificates[0]), ErrInvalid},
		"foreign chain":             {chain(s.twin, s.twin.Certificates[0]), ErrInvalid},
		"foreign chain and root":    {chain(s.twin, s.twin.Certificates[0], s.foreign.cert), ErrInvalid},
		"leaf that is a CA":         {chain(caLeaf, caLeaf.Certificates[0]), ErrInvalid},
		"leaf that may certify":     {chain(certSign, certSign.Certificates[0]), ErrInvalid},
		"leaf not for signing":      {chain(noSign, noSign.Certificates[0]), ErrInvalid},
		"leaf expired":              {chain(past, past.Certificates[0]), ErrInvalid},
		"leaf expires before token": {chain(soon, soon.Certificates[0]), ErrInvalid},
		"leaf with two IDs":         {chain(twoIDs, twoIDs.Certificates[0]), ErrInvalid},
		"leaf signed by a leaf":     {chain(leafBelow(t, s.ingress), leafBelow(t, s.ingress).Certificates[0], leaf), ErrInvalid},
		"other trust domain":        {by(s.root.issue("spiffe://other/ingress", s.ingress.PrivateKey), with(s.header, "x5c", x5cOf(s.root.issue("spiffe://other/ingress", s.ingress.PrivateKey).Certificates[0]))), ErrForbidden},
		"signer may not mint":       {chain(s.evil, s.evil.Certificates[0]), ErrForbidden},
		"user by self minter":       {chain(s.orders, s.orders.Certificates[0]), ErrForbidden},
		"another workload by self":  {self("sub", payID), ErrForbidden},
		"workload by user minter":   {claim("sub", ordersID), ErrForbidden},
		"self by user-only minter":  {claim("sub", ingressID, "tctx", nil, "scope", nil), ErrForbidden},
		"disguised workload":        {claim("sub", "Spiffe://PROD/ns/shop/orders"), ErrForbidden},
		"self with roles":           {self("tctx", map[string]any{"roles": []string{"admin"}}), ErrForbidden},
		"self with scope":           {self("scope", "admin"), ErrForbidden},
		"self with issuer":          {self("tctx", map[string]any{"sub_iss": "x"}), ErrForbidden},
		"expired":                   {claim("iat", now-30, "exp", now-10), ErrExpired},
		"future iat":                {claim("iat", now+10, "exp", now+20), ErrExpired},
		"future nbf":                {claim("nbf", now+10), ErrExpired},
		"lives too long":            {claim("exp", now+301), ErrInvalid},
		"exp before iat":            {claim("exp", now-1), ErrInvalid},
		"exp a string":              {claim("exp", "9999999999"), ErrInvalid},
		"exp a fraction":            {claim("exp", float64(now)+10.5), ErrInvalid},
		"exp with exponent":         {forge(t, s.header, strings.Replace(raw, fmt.Sprint(now+15), "1e10", 1), s.signIngress), ErrInvalid},
		"exp overflowing":           {forge(t, s.header, strings.Replace(raw, fmt.Sprint(now+15), "99999999999999999999", 1), s.signIngress), ErrInvalid},
		"iat negative":              {claim("iat", -1), ErrInvalid},
		"aud of another domain":     {claim("aud", "other"), ErrInvalid},
		"aud list":                  {claim("aud", []string{"prod"}), ErrInvalid},
		"aud as URI":                {claim("aud", "spiffe://prod"), ErrInvalid},
		"iss not the signer":        {claim("iss", ordersID), ErrInvalid},
		"txn empty":                 {claim("txn", ""), ErrInvalid},
		"txn long":                  {claim("txn", strings.Repeat("x", maxID+1)), ErrInvalid},
		"sub a number":              {claim("sub", 7), ErrInvalid},
		"sub with line break":       {claim("sub", "a\r\nX-User-Roles: admin"), ErrInvalid},
		"roles a string":            {claim("tctx", map[string]any{"roles": "admin"}), ErrInvalid},
		"role with line break":      {claim("tctx", map[string]any{"roles": []string{"a\nb"}}), ErrInvalid},
		"sub_iss a list":            {claim("tctx", map[string]any{"sub_iss": []string{"a"}}), ErrInvalid},
		"tctx a string":             {claim("tctx", "x"), ErrInvalid},
		"rctx null":                 {forge(t, s.header, `{"rctx":null,`+raw[1:], s.signIngress), ErrInvalid},
		"sub twice":                 {forge(t, s.header, `{"sub":"root",`+raw[1:], s.signIngress), ErrInvalid},
		"sub twice escaped":         {forge(t, s.header, `{"\u0073ub":"root",`+raw[1:], s.signIngress), ErrInvalid},
		"Sub only":                  {forge(t, s.header, strings.Replace(raw, `"sub"`, `"Sub"`, 1), s.signIngress), ErrInvalid},
		"roles twice":               {forge(t, s.header, strings.Replace(raw, `{"roles"`, `{"roles":["admin"],"roles"`, 1), s.signIngress), ErrInvalid},
		"claims not UTF-8":          {forge(t, s.header, strings.Replace(raw, "alice", "al\xffce", 1), s.signIngress), ErrInvalid},
		"claims trailing":           {forge(t, s.header, raw+"x", s.signIngress), ErrInvalid},
		"claims a list":             {forge(t, s.header, "[]", s.signIngress), ErrInvalid},
		"claims null":               {forge(t, s.header, "null", s.signIngress), ErrInvalid},
		"claims very deep":          {forge(t, s.header, `{"tctx":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)+`,`+raw[1:], s.signIngress), ErrInvalid},
	}
	for _, name := range []string{"iat", "exp", "aud", "txn", "sub", "req_wl"} {
		attacks["no "+name] = struct {
			token string
			want  error
		}{claim(name, nil), ErrInvalid}
	}
	if weak != nil {
		w := s.root.issue(ingressID, weak)
		attacks["weak RSA key"] = struct {
			token string
			want  error
		}{forge(t, with(s.header, "alg", "PS256", "x5c", x5cOf(w.Certificates[0])), s.payload, s.none), ErrInvalid}
	}
	for name, a := range attacks {
		for _, cache := range []string{"cold", "warm"} { // warm: the leaves are known
			v := s.v
			if cache == "cold" {
				v = newTestVerifier(t, s.root.bundle("prod"), s.c)
			}
			got, err := v.Verify(a.token)
			if err == nil {
				t.Errorf("%s (%s): verified as %+v", name, cache, got)
			} else if !errors.Is(err, a.want) {
				t.Errorf("%s (%s): %v, expected it to be: %v", name, cache, err, a.want)
			}
		}
	}
	if n := s.v.tokens.len(); n != 2 {
		t.Errorf("%d tokens cached, the two good ones expected: a refused one must not be", n)
	}
}

func TestEveryAlteredCharacterIsRefused(t *testing.T) {
	s := newScene(t)
	if _, err := s.v.Verify(s.good); err != nil {
		t.Fatal(err)
	}
	const abc = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range s.good {
		if s.good[i] == '.' {
			continue
		}
		next := abc[(strings.IndexByte(abc, s.good[i])+1)%len(abc)]
		if _, err := s.v.Verify(s.good[:i] + string(next) + s.good[i+1:]); err == nil {
			t.Fatalf("verified with character %d altered", i)
		}
	}
}

// leafBelow returns an SVID that another SVID's key certified.
func leafBelow(t testing.TB, by *x509svid.SVID) *x509svid.SVID {
	return (&ca{t, by.Certificates[0], by.PrivateKey}).issue(ingressID, nil)
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJWKSListsUserMintersAsSeen(t *testing.T) {
	s := newScene(t)
	kids := func(get func() ([]byte, error)) map[string]map[string]any {
		t.Helper()
		b, err := get()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Keys []map[string]any }
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		m := map[string]map[string]any{}
		for _, k := range doc.Keys {
			m[k["kid"].(string)] = k
		}
		return m
	}
	if len(kids(s.v.JWKS)) != 0 {
		t.Error("keys before any token")
	}
	for alg, key := range keyKinds(t) {
		svid := s.root.issue(ingressID, key)
		if _, err := s.v.Verify(mustMint(t, newTestMinter(t, svid, s.c, MinterConfig{}), MintRequest{Subject: "a"}).Token); err != nil {
			t.Fatal(err)
		}
		k := kids(s.v.JWKS)[keyID(svid.Certificates[0])]
		if k == nil || k["alg"] != alg {
			t.Fatalf("%s: key is %v", alg, k)
		}
		if k["kty"] == "EC" {
			pub := key.Public().(*ecdsa.PublicKey)
			x, _ := base64.RawURLEncoding.DecodeString(k["x"].(string))
			y, _ := base64.RawURLEncoding.DecodeString(k["y"].(string))
			if got, err := ecdsa.ParseUncompressedPublicKey(pub.Curve, append(append([]byte{4}, x...), y...)); err != nil || !got.Equal(pub) {
				t.Errorf("%s: the key listed is not the signer's: %v", alg, err)
			}
		}
	}
	before := len(kids(s.v.JWKS))
	if _, err := s.v.Verify(mustMint(t, newTestMinter(t, s.orders, s.c, MinterConfig{}), MintRequest{Self: true}).Token); err != nil {
		t.Fatal(err)
	}
	if len(kids(s.v.JWKS)) != before || len(kids(s.v.SelfJWKS)) != 1 {
		t.Error("a self minter's key must be in SelfJWKS alone")
	}
	s.c.add(2 * time.Hour) // past every leaf
	if n := len(kids(s.v.JWKS)) + len(kids(s.v.SelfJWKS)); n != 0 {
		t.Errorf("%d keys of expired leaves", n)
	}
}
