package txntoken

import (
	"strings"
	"testing"
)

func FuzzVerify(f *testing.F) {
	s := newScene(f)
	p := strings.Split(s.good, ".")
	f.Add(s.good)
	f.Add(p[0] + "." + p[1] + "." + p[2] + "A")
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.e30")
	f.Add(forge(f, `{"alg":"ES256","typ":"txntoken+jwt","x5c":["MAA="]}`, `{}`, s.none))
	if _, err := s.v.Verify(s.good); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		got, err := s.v.Verify(token)
		if err == nil && token != s.good {
			t.Fatalf("verified what nobody signed: %+v", got)
		}
	})
}

// FuzzClaims goes past the signature, where FuzzVerify cannot get to.
func FuzzClaims(f *testing.F) {
	s := newScene(f)
	f.Add([]byte(mustJSON(f, s.payload)))
	f.Add([]byte(`{"exp":1e3,"tctx":{"roles":[1]}}`))
	f.Add([]byte(`{"a":{"b":[[{}]]},"a":1}`))
	sig := &signer{id: ordersID, leaf: s.orders.Certificates[0], self: true, valid: s.orders.Certificates[0].NotAfter}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeObject(body)
		if err != nil {
			return
		}
		var e tokenEntry
		if s.v.claims(c, sig, s.c.now(), &e) == nil && (e.txn.Subject != ordersID || !e.txn.Self || Identity(&e.txn).Roles != nil) {
			t.Fatalf("a self minter spoke as %+v", e.txn)
		}
	})
}

func FuzzHopClaims(f *testing.F) {
	client, server := hopPair(f)
	m := client.pool.Get().(*hopMAC)
	f.Add(`{"iss":"spiffe://prod/ns/shop/orders","aud":"spiffe://prod/ns/shop/payments","iat":1,"exp":2,"dl":0,"rb":0,"chain":["spiffe://prod/ingress"]}`)
	f.Add(`{"iss":"","chain":[],"x":["a","b"]}`)
	f.Add(`{"tth":"x`)
	tok, err := client.Sign(hopSays)
	if err != nil {
		f.Fatal(err)
	}
	body, err := b64.DecodeString(strings.Split(tok, ".")[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(body))
	f.Fuzz(func(t *testing.T, body string) {
		in := hopHeader + b64.EncodeToString([]byte(body))
		h, err := server.Verify(in+"."+b64.EncodeToString(m.sign([]byte(in))), hopWants)
		if err != nil {
			return
		}
		if h.Chain[len(h.Chain)-1] != ordersID || len(h.Chain) > MaxChain || !strings.Contains(body, `"aud":"`+payID+`"`) {
			t.Fatalf("%s became %+v", body, h)
		}
		for _, id := range h.Chain {
			if !validID(id) {
				t.Fatalf("%q is no SPIFFE ID", id)
			}
		}
	})
}

func FuzzHopToken(f *testing.F) {
	client, server := hopPair(f)
	tok, err := client.Sign(hopSays)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok)
	f.Add(hopHeader + strings.Repeat("A", hopSigLen) + "." + strings.Repeat("A", hopSigLen))
	f.Fuzz(func(t *testing.T, token string) {
		if h, err := server.Verify(token, hopWants); err == nil && token != tok {
			t.Fatalf("verified what nobody signed: %+v", h)
		}
	})
}

func FuzzTracestate(f *testing.F) {
	id := strings.Repeat("0a", 16)
	f.Add("a=1,lintel=" + id + ",b=2")
	f.Add(" LINTEL =x,, ,lintel")
	f.Add(strings.Repeat("k=v,", 40) + strings.Repeat("x", 600))
	f.Fuzz(func(t *testing.T, in string) {
		stripped := StripState(in)
		if hasState(stripped) || FindState(stripped) != "" {
			t.Fatalf("StripState(%q) left %q", in, stripped)
		}
		if StripState(stripped) != stripped {
			t.Fatalf("stripping %q twice changes it", in)
		}
		added := AddState(in, id)
		if FindState(added) != id || !strings.HasPrefix(added, "lintel="+id) {
			t.Fatalf("AddState(%q) is %q", in, added)
		}
		if len(added) > stateBytes || strings.Count(added, ",") >= stateMembers {
			t.Fatalf("AddState(%q) is too large: %q", in, added)
		}
	})
}
