package txntoken

import "testing"

func allocs(f func()) float64 { return testing.AllocsPerRun(500, f) }

func TestAKnownTokenVerifiesWithoutAllocating(t *testing.T) {
	s := newScene(t)
	var tr txn
	if err := s.v.VerifyInto(s.good, &tr); err != nil {
		t.Fatal(err)
	}
	if n := allocs(func() { _ = s.v.VerifyInto(s.good, &tr) }); n != 0 {
		t.Errorf("VerifyInto allocates %v times", n)
	}
	if n := allocs(func() { _, _ = s.v.Verify(s.good) }); n > 1 {
		t.Errorf("Verify allocates %v times, the returned struct alone is expected", n)
	}
}

func TestPatternsAndTracestateMatchWithoutAllocating(t *testing.T) {
	p, err := ParsePatterns([]string{ingressID, "spiffe://prod/ns/shop/*"})
	if err != nil {
		t.Fatal(err)
	}
	state := "a=1,lintel=0123456789abcdef0123456789abcdef"
	if n := allocs(func() { _ = p.Match(payID); _ = FindState(state); _ = StripState("a=1,b=2") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHopTokensAllocateWhatTheyReturn(t *testing.T) {
	client, server := hopPair(t)
	tok, err := client.Sign(hopSays)
	if err != nil {
		t.Fatal(err)
	}
	// Sign: the string. Verify: the chain's list and its one string.
	sign, verify := 1.0, 2.0
	if raceEnabled { // sync.Pool then drops things on purpose
		sign, verify = 16, 16
	}
	if n := allocs(func() { _, _ = client.Sign(hopSays) }); n > sign {
		t.Errorf("Sign allocates %v times", n)
	}
	if n := allocs(func() { _, _ = server.Verify(tok, hopWants) }); n > verify {
		t.Errorf("Verify allocates %v times", n)
	}
}
