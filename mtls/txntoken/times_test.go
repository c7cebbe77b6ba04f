package txntoken

import (
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestClocksMayDifferByTheLeewayAndNoMore: a token is believed from leeway
// before its iat until leeway after its exp, hop tokens likewise.
func TestClocksMayDifferByTheLeewayAndNoMore(t *testing.T) {
	client, server := hopPair(t)
	minted := time.Now().Truncate(time.Second)
	hop, err := client.signAt(hopSays, minted)
	if err != nil {
		t.Fatal(err)
	}
	for _, leeway := range []time.Duration{0, -1, time.Second, 30 * time.Second} { // 0 is the default
		allowed := leeway
		switch leeway {
		case 0:
			allowed = 5 * time.Second
		case -1:
			allowed = 0
		}
		root := newCA(t, "root")
		sender, receiver := &clock{t: minted}, &clock{t: minted}
		tok := mustMint(t, newTestMinter(t, root.issue(ingressID, nil), sender, MinterConfig{Lifetime: 10 * time.Second}), MintRequest{Subject: "a"}).Token
		for _, c := range []struct {
			name  string
			off   time.Duration // of the receiver's clock
			life  time.Duration
			valid bool
		}{
			{"behind by the leeway", -allowed, 0, true}, {"behind by more", -allowed - time.Second, 0, false},
			{"ahead, at the end", allowed - time.Millisecond, 1, true}, {"ahead by the leeway", allowed, 1, false},
		} {
			v, err := NewVerifier(root.bundle("prod"), VerifierConfig{Audience: "prod", UserMinters: []string{ingressID}, Leeway: leeway})
			if err != nil {
				t.Fatal(err)
			}
			v.now = receiver.now
			receiver.t = minted.Add(c.off + c.life*10*time.Second)
			for _, again := range []string{"", " from the cache"} {
				if _, err := v.Verify(tok); (err == nil) != c.valid || err != nil && !errors.Is(err, ErrExpired) {
					t.Errorf("leeway %s: a Txn-Token, the clock %s%s: %v", leeway, c.name, again, err)
				}
			}
			want := hopWants
			want.Leeway = leeway
			if _, err := server.verifyAt(hop, &want, minted.Add(c.off+c.life*hopLifetime)); (err == nil) != c.valid || err != nil && !errors.Is(err, ErrExpired) {
				t.Errorf("leeway %s: a hop token, the clock %s: %v", leeway, c.name, err)
			}
		}
	}
}

// TestAMinterThatIsOffTheListIsDeniedAtOnce: a changed list is a new Verifier,
// and nothing that the old one had verified comes along.
func TestAMinterThatIsOffTheListIsDeniedAtOnce(t *testing.T) {
	s := newScene(t)
	if _, err := s.v.Verify(s.good); err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(s.root.bundle("prod"), VerifierConfig{Audience: "prod", UserMinters: []string{"spiffe://prod/other"}, SelfMinters: []string{ingressID}})
	if err != nil {
		t.Fatal(err)
	}
	var tr txn
	if v.Recall(s.good, &tr) {
		t.Error("recalled")
	}
	if _, err := v.Verify(s.good); !errors.Is(err, ErrForbidden) {
		t.Errorf("%v", err)
	}
	if b, err := v.JWKS(); err != nil || string(b) != `{"keys":[]}` {
		t.Errorf("%s %v", b, err)
	}
}

// TestARequesterIsNamedAndCannotBeMadeUp.
func TestARequesterIsNamedAndCannotBeMadeUp(t *testing.T) {
	s := newScene(t)
	m := newTestMinter(t, s.ingress, s.c, MinterConfig{})
	tr, err := s.v.Verify(mustMint(t, m, MintRequest{Subject: "a", Requester: ordersID}).Token)
	if err != nil || tr.ReqWL != ordersID || tr.Minter != ingressID {
		t.Errorf("%+v, %v", tr, err)
	}
	for _, bad := range []string{"orders", "spiffe://prod", "spiffe://prod/a\nb", "https://x/y"} {
		if _, err := m.Mint(MintRequest{Subject: "a", Requester: bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestAFloodDoesNotForgetWhatIsInFlight: those who are too many get nothing;
// those who came before keep what they have, and no id is ever another's.
func TestAFloodDoesNotForgetWhatIsInFlight(t *testing.T) {
	const room = 256
	m := NewMemory(room)
	first := &txn{ID: "first", Token: "a.b.c"}
	id, forget := m.Remember(first)
	var flood sync.WaitGroup
	for range 8 {
		flood.Go(func() {
			for range 2000 {
				_, _ = m.Remember(&txn{ID: "flood", Token: "f.l.d"})
			}
		})
	}
	flood.Wait()
	if m.Len() != room || m.Refused() != 16000-(room-1) {
		t.Errorf("%d remembered, %d refused", m.Len(), m.Refused())
	}
	if m.ByState("lintel="+id) != first || m.ByToken("a.b.c") != first {
		t.Error("what came first is forgotten")
	}
	forget()
	if m.ByState("lintel="+id) != nil {
		t.Error("it is found after its exchange")
	}
}

// TestNoIDIsGuessed: an id is 128 random bits, and what is near one finds nothing.
func TestNoIDIsGuessed(t *testing.T) {
	m := NewMemory(0)
	ones := make([]int, 128)
	const n = 4000
	seen := map[string]bool{}
	for range n {
		id, _ := m.Remember(&txn{})
		b, err := hex.DecodeString(id)
		if err != nil || len(b) != 16 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		for i := range ones {
			ones[i] += int(b[i/8] >> (i % 8) & 1)
		}
		b[15] ^= 1
		if near := hex.EncodeToString(b); !seen[near] && m.ByState("lintel="+near) != nil {
			t.Errorf("%s finds what %s is", near, id)
		}
	}
	for i, k := range ones { // 2000 ± 10 standard deviations
		if k < n/2-316 || k > n/2+316 {
			t.Errorf("bit %d is set %d times of %d", i, k, n)
		}
	}
}
