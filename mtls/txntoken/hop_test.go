package txntoken

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func hopPair(t testing.TB) (client, server *HopKey) {
	t.Helper()
	cs, ss := tlsPair(t, tls.VersionTLS13)
	client, err := NewHopKey(cs)
	if err != nil {
		t.Fatal(err)
	}
	server, err = NewHopKey(ss)
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

var (
	hopSays  = HopClaims{Self: ordersID, Dest: payID, TxnToken: "a.b.c", Chain: []string{ingressID}, Retries: 2}
	hopWants = HopExpect{Self: payID, Peer: ordersID, TxnToken: "a.b.c"}
)

func TestHopArrivesAsItWasSent(t *testing.T) {
	cs, ss := tlsPair(t, tls.VersionTLS13)
	now := time.Now()
	c := hopSays
	c.Priority = exchange.Sheddable
	c.Deadline = now.Add(1500 * time.Millisecond)
	tok, err := SignHop(cs, c)
	if err != nil {
		t.Fatal(err)
	}
	h, err := VerifyHop(ss, tok, hopWants)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{ingressID, ordersID}; !reflect.DeepEqual(h.Chain, want) || h.Retries != 2 || h.Priority != exchange.Sheddable {
		t.Errorf("got %+v", h)
	}
	if d := h.Deadline.Sub(c.Deadline); d < -2*time.Millisecond || d > 5*time.Second {
		t.Errorf("deadline is %s off", d)
	}
}

func TestHopOmitsWhatIsNotSet(t *testing.T) {
	client, server := hopPair(t)
	tok, err := client.Sign(HopClaims{Self: ordersID, Dest: payID, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	h, err := server.Verify(tok, HopExpect{Self: payID, Peer: ordersID})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, Hop{Chain: []string{ordersID}, Retries: -1}) {
		t.Errorf("got %+v", h)
	}
	past := HopClaims{Self: ordersID, Dest: payID, Deadline: time.Now().Add(-time.Second)}
	tok, err = client.Sign(past)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = server.Verify(tok, HopExpect{Self: payID, Peer: ordersID}); err != nil || h.Deadline.IsZero() || h.Retries != 0 {
		t.Errorf("a deadline that passed must stay one: %+v, %v", h, err)
	}
}

// TestAKnownHashIsAsGoodAsTheToken: and a wrong one as bad as a wrong token.
func TestAKnownHashIsAsGoodAsTheToken(t *testing.T) {
	client, server := hopPair(t)
	says, wants := hopSays, hopWants
	says.TxnHash, wants.TxnHash = sha256.Sum256([]byte(says.TxnToken)), sha256.Sum256([]byte(says.TxnToken))
	plain, err := client.Sign(hopSays)
	if err != nil {
		t.Fatal(err)
	}
	hashed, err := client.Sign(says)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{plain, hashed} {
		for _, w := range []HopExpect{hopWants, wants} {
			if _, err := server.Verify(token, w); err != nil {
				t.Error(err)
			}
		}
	}
	wants.TxnHash[0] ^= 1
	if _, err := server.Verify(plain, wants); !errors.Is(err, ErrInvalid) {
		t.Errorf("accepted with another token's hash: %v", err)
	}
}

func TestHopAttacksAreRefused(t *testing.T) {
	client, server := hopPair(t)
	_, elsewhere := hopPair(t)
	good, err := client.Sign(hopSays)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Verify(good, hopWants); err != nil {
		t.Fatalf("the token every attack starts from must verify: %v", err)
	}
	if _, err := elsewhere.Verify(good, hopWants); !errors.Is(err, ErrInvalid) {
		t.Errorf("moved to another connection: %v", err)
	}
	now := time.Now()
	iat := now.Unix()
	// raw signs any claims with the right key: a peer that is no Lintel.
	m := client.pool.Get().(*hopMAC)
	raw := func(body string) string {
		in := hopHeader + b64.EncodeToString([]byte(body))
		return in + "." + b64.EncodeToString(m.sign([]byte(in)))
	}
	base := fmt.Sprintf(`"iss":"%s","aud":"%s","iat":%d,"exp":%d`, ordersID, payID, iat, iat+10)
	tth := `,"tth":"` + string(m.hash("a.b.c", new([32]byte))) + `"`
	if _, err := server.Verify(raw(`{`+base+tth+`,"later":"x","more":[],"n":1}`), hopWants); err != nil {
		t.Errorf("a later version's claims must be passed over: %v", err)
	}
	p := strings.Split(good, ".")
	long := make([]string, MaxChain)
	for i := range long {
		long[i] = fmt.Sprintf(`"spiffe://prod/s%d"`, i)
	}
	noneHeader := b64.EncodeToString([]byte(`{"alg":"none","typ":"hop+jwt"}`))
	others, err := ParsePatterns([]string{ingressID})
	if err != nil {
		t.Fatal(err)
	}
	want := func(edit func(*HopExpect)) HopExpect {
		w := hopWants
		edit(&w)
		return w
	}
	for name, a := range map[string]struct {
		token string
		want  HopExpect
		err   error
	}{
		"empty":                 {"", hopWants, ErrInvalid},
		"alg none":              {noneHeader + "." + p[1] + "." + p[2], hopWants, ErrInvalid},
		"no signature":          {p[0] + "." + p[1] + ".", hopWants, ErrInvalid},
		"signature altered":     {good[:len(good)-2] + "xx", hopWants, ErrInvalid},
		"claims altered":        {p[0] + "." + b64.EncodeToString([]byte(`{`+base+tth+`}`)) + "." + p[2], hopWants, ErrInvalid},
		"huge":                  {good + strings.Repeat("A", MaxHopBytes), hopWants, ErrInvalid},
		"a Txn-Token":           {newScene(t).good, hopWants, ErrInvalid},
		"other destination":     {good, want(func(w *HopExpect) { w.Self = ingressID }), ErrInvalid},
		"other peer":            {good, want(func(w *HopExpect) { w.Peer = ingressID }), ErrInvalid},
		"other Txn-Token":       {good, want(func(w *HopExpect) { w.TxnToken = "a.b.d" }), ErrInvalid},
		"Txn-Token taken away":  {good, want(func(w *HopExpect) { w.TxnToken = "" }), ErrInvalid},
		"Txn-Token added":       {raw(`{` + base + `}`), hopWants, ErrInvalid},
		"tth empty":             {raw(`{` + base + `,"tth":""}`), hopWants, ErrInvalid},
		"own ID unknown":        {good, want(func(w *HopExpect) { w.Self = "" }), ErrInvalid},
		"peer unknown":          {good, want(func(w *HopExpect) { w.Peer = "" }), ErrInvalid},
		"asserter not allowed":  {good, want(func(w *HopExpect) { w.Asserters = others }), ErrForbidden},
		"chain over-long":       {raw(`{` + base + tth + `,"chain":[` + strings.Join(long, ",") + `]}`), hopWants, ErrInvalid},
		"chain over the bound":  {good, want(func(w *HopExpect) { w.MaxChain = 1 }), ErrInvalid},
		"chain of no IDs":       {raw(`{` + base + tth + `,"chain":["orders"]}`), hopWants, ErrInvalid},
		"chain with odd IDs":    {raw(`{` + base + tth + `,"chain":["spiffe://prod/../x"]}`), hopWants, ErrInvalid},
		"chain of a domain":     {raw(`{` + base + tth + `,"chain":["spiffe://prod"]}`), hopWants, ErrInvalid},
		"chain empty":           {raw(`{` + base + tth + `,"chain":[]}`), hopWants, ErrInvalid},
		"chain string":          {raw(`{` + base + tth + `,"chain":"x"}`), hopWants, ErrInvalid},
		"chain nested":          {raw(`{` + base + tth + `,"chain":[["x"]]}`), hopWants, ErrInvalid},
		"claim twice":           {raw(`{` + base + tth + `,"aud":"` + payID + `"}`), hopWants, ErrInvalid},
		"name escaped":          {raw(`{` + base + tth + `,"\u0061ud":"x"}`), hopWants, ErrInvalid},
		"white space":           {raw(`{ ` + base + tth + `}`), hopWants, ErrInvalid},
		"trailing":              {raw(`{` + base + tth + `}}`), hopWants, ErrInvalid},
		"trailing comma":        {raw(`{` + base + tth + `,}`), hopWants, ErrInvalid},
		"no object":             {raw(`[]`), hopWants, ErrInvalid},
		"nothing":               {raw(``), hopWants, ErrInvalid},
		"claims missing":        {raw(`{"iss":"` + ordersID + `"}`), hopWants, ErrInvalid},
		"dl out of range":       {raw(`{` + base + tth + `,"dl":86400001}`), hopWants, ErrInvalid},
		"dl many digits":        {raw(`{` + base + tth + `,"dl":99999999999999999999}`), hopWants, ErrInvalid},
		"dl leading zero":       {raw(`{` + base + tth + `,"dl":01}`), hopWants, ErrInvalid},
		"dl negative":           {raw(`{` + base + tth + `,"dl":-1}`), hopWants, ErrInvalid},
		"rb out of range":       {raw(`{` + base + tth + `,"rb":99999}`), hopWants, ErrInvalid},
		"iat a string":          {raw(strings.Replace(`{`+base+tth+`}`, fmt.Sprint(iat), `"1"`, 1)), hopWants, ErrInvalid},
		"lives too long":        {raw(strings.Replace(`{`+base+tth+`}`, fmt.Sprint(iat+10), fmt.Sprint(iat+61), 1)), hopWants, ErrInvalid},
		"expired":               {signedAt(t, client, now.Add(-15*time.Second)), hopWants, ErrExpired},
		"expired, no leeway":    {signedAt(t, client, now.Add(-11*time.Second)), want(func(w *HopExpect) { w.Leeway = -1 }), ErrExpired},
		"from the future":       {signedAt(t, client, now.Add(10*time.Second)), hopWants, ErrExpired},
		"stranger with a chain": {strangerHop(t, client), want(func(w *HopExpect) { w.Peer = "spiffe://other/x" }), ErrForbidden},
	} {
		if h, err := server.Verify(a.token, a.want); err == nil {
			t.Errorf("%s: verified as %+v", name, h)
		} else if !errors.Is(err, a.err) {
			t.Errorf("%s: %v, expected it to be: %v", name, err, a.err)
		}
	}
	for i := range good {
		if _, err := server.Verify(good[:i]+string(good[i]^1)+good[i+1:], hopWants); err == nil {
			t.Fatalf("verified with character %d altered", i)
		}
	}
}

func signedAt(t *testing.T, k *HopKey, at time.Time) string {
	t.Helper()
	tok, err := k.signAt(hopSays, at)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func strangerHop(t *testing.T, k *HopKey) string {
	t.Helper()
	c := hopSays
	c.Self = "spiffe://other/x"
	tok, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestAPeerOutsideTheAssertersMayStartAChain(t *testing.T) {
	client, server := hopPair(t)
	c := hopSays
	c.Self, c.Chain = "spiffe://other/x", nil
	tok, err := client.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	w := hopWants
	w.Peer = "spiffe://other/x"
	if h, err := server.Verify(tok, w); err != nil || len(h.Chain) != 1 || h.Chain[0] != w.Peer {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestSignHopRefuses(t *testing.T) {
	client, _ := hopPair(t)
	for name, edit := range map[string]func(*HopClaims){
		"own ID no ID":      func(c *HopClaims) { c.Self = "orders" },
		"injection in dest": func(c *HopClaims) { c.Dest = `spiffe://prod/x","aud":"y` },
		"injection in link": func(c *HopClaims) { c.Chain = []string{`spiffe://prod/x"]`} },
		"long life":         func(c *HopClaims) { c.Lifetime = time.Hour },
		"endless chain":     func(c *HopClaims) { c.Chain = make([]string, 500); fill(c.Chain, ingressID) },
	} {
		c := hopSays
		edit(&c)
		if tok, err := client.Sign(c); err == nil {
			t.Errorf("%s: signed %s", name, tok)
		}
	}
}

func fill(l []string, s string) {
	for i := range l {
		l[i] = s
	}
}

func TestHopNeedsTLS13(t *testing.T) {
	cs, _ := tlsPair(t, tls.VersionTLS12)
	for name, cs := range map[string]*tls.ConnectionState{"TLS 1.2": cs, "no TLS": nil, "no handshake": {}} {
		if _, err := SignHop(cs, hopSays); !errors.Is(err, ErrIdentity) {
			t.Errorf("sign over %s: %v", name, err)
		}
		if _, err := VerifyHop(cs, "x", hopWants); !errors.Is(err, ErrIdentity) {
			t.Errorf("verify over %s: %v", name, err)
		}
	}
}

func TestHopKeysAreMadeOncePerConnectionAndGoWithIt(t *testing.T) {
	var keys HopKeys
	func() {
		cs, ss := tlsPair(t, tls.VersionTLS13)
		a, err := keys.For(cs)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := keys.For(cs); a != b {
			t.Error("a second key for one connection")
		}
		s, err := keys.For(ss)
		if err != nil || s == a {
			t.Fatalf("the other end's state shares the key's value, not the key: %v", err)
		}
		tok, err := a.Sign(hopSays)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(tok, hopWants); err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(cs)
		runtime.KeepAlive(ss)
	}()
	if _, err := keys.For(nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("no connection: %v", err)
	}
	for deadline := time.Now().Add(30 * time.Second); keys.len() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d keys of connections that are gone", keys.len())
		}
		runtime.GC()
		runtime.Gosched()
	}
}
