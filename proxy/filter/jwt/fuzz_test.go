package jwt

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzToken: nothing but the genuine token passes, and nothing panics.
func FuzzToken(f *testing.F) {
	filter := newFilter(f, Config{Keys: []Key{{Secret: secret}}})
	genuine := hs(f, nil)
	for _, s := range []string{genuine, genuine[:len(genuine)-1], genuine + "=", "..", "a.b.c", "",
		b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".", b64(`{"alg":"HS256","crit":[]}`) + "." + b64(`{"exp":1e400}`) + ".AA",
		b64(`{"alg":"HS256","alg":"none"}`) + "." + b64(`{"aud":[[[]]]}`) + ".AA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if got := ask(filter, raw); got == "" && raw != genuine {
			t.Fatalf("%q passed", raw)
		}
	})
}

// FuzzObject: whatever the strict decoder takes, encoding/json takes too, and
// both read the same.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"a":2}`, `{"a":{"b":[1,2.5,"x",null,true]}}`, `[]`, `{"a":1}x`, `{"\u0061":1,"a":2}`, `{"a":1e999}`, "{\"\xff\":1}", `{"a":9007199254740993}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeObject(data)
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q: taken, but encoding/json says %v", data, err)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, encoding/json has %v", data, got, want)
		}
	})
}

// FuzzKeySet: no key set from the network makes the parser panic, and every key
// it takes is bound to algorithms.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(keySetOf(f, "old", "new")))
	f.Add([]byte(jwks(f, toJWK(f, ring().rsa.Public(), nil), toJWK(f, ring().ed.Public(), map[string]any{"alg": "EdDSA"}))))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AA","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := parseSet(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("an empty set was taken")
		}
		for _, k := range keys {
			if len(k.algs) == 0 {
				t.Fatal("a key without algorithm")
			}
			if _, shared := k.public.([]byte); shared {
				t.Fatal("a shared secret from the network")
			}
		}
	})
}
