package cache

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func sample() *answer {
	var h exchange.Fields
	addLines(&h, []string{"Content-Type: text/plain", `ETag: "x"`, "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT", "X-Empty: "})
	a := newAnswer(200, h, freshness{date: epoch, born: epoch.Add(-time.Second), life: time.Minute, must: true, open: true,
		control: control{whileRevalidate: -1, ifError: time.Hour}})
	a.vary = []exchange.Field{{Name: "Accept", Value: "x"}, {Name: "X-None", Value: ""}}
	a.claims, a.tags, a.body = "1\x03abc", []string{"red", "blue"}, []byte("the body")
	return a
}

func TestAnAnswerIsReadAsItWasWritten(t *testing.T) {
	key := [32]byte{1, 2, 3}
	for _, a := range []*answer{sample(), newAnswer(404, exchange.Fields{}, freshness{date: epoch, born: epoch, control: noControl(), always: true})} {
		kind, s, err := readSpelling(spellAnswer(&key, a, page{5, 7}), &key)
		if err != nil || kind != kindAnswer {
			t.Fatal(kind, err)
		}
		got, err := s.answer()
		if err != nil || got.page != (page{5, 7}) {
			t.Fatalf("%+v %v", got, err)
		}
		if !got.date.Equal(a.date) || !got.born.Equal(a.born) || !got.modified.Equal(a.modified) {
			t.Errorf("times %v %v %v", got.date, got.born, got.modified)
		}
		got.date, got.born, got.modified = a.date, a.born, a.modified
		if len(a.vary) == 0 {
			got.vary, got.tags = nil, nil
		}
		if !reflect.DeepEqual(got.answer, a) {
			t.Errorf("got  %+v\nwant %+v", got.answer, a)
		}
	}
	vary := []exchange.Field{{Name: "Accept"}, {Name: "X-B"}}
	kind, s, err := readSpelling(spellVary(&key, vary), &key)
	if err != nil || kind != kindVary {
		t.Fatal(kind, err)
	}
	if names, err := s.vary(); err != nil || strings.Join(names, " ") != "accept x-b" {
		t.Error(names, err)
	}
}

// read is what an instance makes of b.
func read(b []byte, key *[32]byte) (*filed, []string, error) {
	kind, s, err := readSpelling(b, key)
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case kindAnswer:
		a, err := s.answer()
		return a, nil, err
	case kindVary:
		names, err := s.vary()
		return nil, names, err
	}
	return nil, nil, errSpelling
}

func TestWhatWasNotWrittenSoIsNotRead(t *testing.T) {
	key := [32]byte{9}
	whole := spellAnswer(&key, sample(), page{5, 7})
	for n := range whole {
		if _, _, err := read(whole[:n], &key); err == nil {
			t.Fatalf("the first %d bytes of %d were read", n, len(whole))
		}
		bent := bytes.Clone(whole)
		bent[n] ^= 0x10
		if _, _, err := read(bent, &key); err == nil {
			t.Fatalf("it was read with byte %d bent", n)
		}
	}
	if _, _, err := read(whole, &[32]byte{8}); err == nil {
		t.Error("it was read from another's key")
	}
	for name, bend := range map[string]func(*answer, *page){
		"a smuggled line":    func(a *answer, _ *page) { a.header.Add("X-A", "b\r\nSet-Cookie: c") },
		"a bad name":         func(a *answer, _ *page) { a.header.Add("X A", "b") },
		"Set-Cookie":         func(a *answer, _ *page) { a.header.Add("Set-Cookie", "b") },
		"Transfer-Encoding":  func(a *answer, _ *page) { a.header.Add("Transfer-Encoding", "chunked") },
		"Content-Length":     func(a *answer, _ *page) { a.header.Add("Content-Length", "1") },
		"status 304":         func(a *answer, _ *page) { a.status = 304 },
		"status 101":         func(a *answer, _ *page) { a.status = 101 },
		"status 600":         func(a *answer, _ *page) { a.status = 600 },
		"a life too long":    func(a *answer, _ *page) { a.life = maxDelta + 1 },
		"a life below 0":     func(a *answer, _ *page) { a.life = -1 },
		"no ledger":          func(_ *answer, p *page) { p.begun = 0 },
		"too many tags":      func(a *answer, _ *page) { a.tags = make([]string, maxTags+1) },
		"a tag too long":     func(a *answer, _ *page) { a.tags = []string{strings.Repeat("x", maxTag+1)} },
		"varies by too many": func(a *answer, _ *page) { a.vary = make([]exchange.Field, maxVary+1) },
		"varies by nothing":  func(a *answer, _ *page) { a.vary = make([]exchange.Field, 1) },
	} {
		a, p := sample(), page{5, 7}
		bend(a, &p)
		if _, _, err := read(spellAnswer(&key, a, p), &key); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, _, err := read(endSpelling(append(beginSpelling(&key, kindVary, 1), 0)), &key); err == nil {
		t.Error("a list of no names was read")
	}
	if _, _, err := read(endSpelling(beginSpelling(&key, 'Z', 1)), &key); err == nil {
		t.Error("another kind was read")
	}
}

// Whatever stands in Redis, with whatever checksum, is refused or an answer that
// can be sent.
func FuzzReadSpelling(f *testing.F) {
	key := [32]byte{}
	front := markedFront
	f.Add(spellAnswer(&key, sample(), page{5, 7})[front:])
	f.Add(spellVary(&key, []exchange.Field{{Name: "Accept"}})[front:])
	f.Add([]byte{kindAnswer, 2, 2, 0xc8, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, rest []byte) {
		b := append([]byte(mark), make([]byte, 4+32)...)
		a, names, err := read(endSpelling(append(b, rest...)), &key)
		if err != nil {
			return
		}
		for _, n := range names {
			if !token(n) {
				t.Fatalf("name %q", n)
			}
		}
		if a == nil {
			return
		}
		for name, value := range a.header.All() {
			if !token(name) || strings.ContainsAny(value, "\r\n\x00") || is(name, "Set-Cookie") || about(name) {
				t.Fatalf("field %q: %q", name, value)
			}
		}
		if a.status < 200 || a.status > 599 || len(a.body) > len(rest) || a.life < 0 {
			t.Fatalf("%+v", a)
		}
		again, _, err := read(spellAnswer(&key, a.answer, a.page), &key)
		if err != nil || again.page != a.page || !bytes.Equal(again.body, a.body) || again.header.Len() != a.header.Len() {
			t.Fatalf("%v: %+v, then %+v", err, a, again)
		}
	})
}
