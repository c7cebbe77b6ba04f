package txntoken

import (
	"crypto/sha256"
	"crypto/tls"
	"strings"
	"testing"
	"time"
)

func BenchmarkMint(b *testing.B) {
	s := newScene(b)
	r := MintRequest{Subject: "alice", Scope: "read", Roles: []string{"user", "staff"}, Rctx: map[string]any{"req_ip": "192.0.2.1"}}
	m := newTestMinter(b, s.ingress, s.c, MinterConfig{})
	b.Run("fresh", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n = len(mustMint(b, m, r).Token)
		}
		b.ReportMetric(float64(n), "token-bytes")
	})
	m = newTestMinter(b, s.ingress, s.c, MinterConfig{Reuse: 10 * time.Second})
	b.Run("reused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustMint(b, m, r)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := newScene(b)
	m := newTestMinter(b, s.ingress, s.c, MinterConfig{})
	tok := mustMint(b, m, MintRequest{Subject: "alice", Roles: []string{"user"}}).Token
	b.Run("unknown-leaf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.v.verify(tok, 0, s.c.now()); err != nil { // generation 0: never remembered
				b.Fatal(err)
			}
			clear(s.v.leaves.m)
		}
	})
	b.Run("known-leaf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.v.verify(tok, 1, s.c.now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		var t txn
		if err := s.v.VerifyInto(tok, &t); err != nil {
			b.Fatal(err)
		}
		other := strings.Clone(tok) // as it comes from another read buffer
		for b.Loop() {
			if err := s.v.VerifyInto(other, &t); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkHop(b *testing.B) {
	cs, ss := tlsPair(b, tls.VersionTLS13)
	var keys HopKeys
	client, err := keys.For(cs)
	if err != nil {
		b.Fatal(err)
	}
	server, err := keys.For(ss)
	if err != nil {
		b.Fatal(err)
	}
	c, w := hopSays, hopWants
	c.TxnToken = strings.Repeat("x", 2000)
	w.TxnToken = c.TxnToken
	tok, err := client.Sign(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("derive", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := NewHopKey(cs); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("find-key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := keys.For(cs); err != nil {
				b.Fatal(err)
			}
		}
	})
	// As on the way of a request: who minted or verified the Txn-Token has its hash.
	c.TxnHash, w.TxnHash = sha256.Sum256([]byte(c.TxnToken)), sha256.Sum256([]byte(c.TxnToken))
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Sign(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := server.Verify(tok, w); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemory(b *testing.B) {
	m := NewMemory(0)
	t := &txn{Token: strings.Repeat("x", 2000), Chain: []string{ingressID}}
	t.Hash = sha256.Sum256([]byte(t.Token))
	b.ReportAllocs()
	for b.Loop() {
		id, forget := m.Remember(t)
		if m.ByState("lintel="+id) == nil {
			b.Fatal("not found")
		}
		forget()
	}
}
