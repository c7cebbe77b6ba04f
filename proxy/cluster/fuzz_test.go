package cluster

import (
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func FuzzServingStatus(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x04\x12\x02ab",
		"\x00\x00\x00\x00\x0b\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x00\xff\xff\xff\xff\x08"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		state, err := servingStatus(body)
		if err != nil && state != 0 {
			t.Errorf("%d and %v", state, err)
		}
	})
}

func TestServingStatus(t *testing.T) {
	for body, want := range map[string]uint64{"\x00\x00\x00\x00\x02\x08\x01": 1, "\x00\x00\x00\x00\x00": 0, "\x00\x00\x00\x00\x02\x08\x02": 2,
		"\x00\x00\x00\x00\x06\x12\x02ab\x08\x01": 1} {
		if got, err := servingStatus([]byte(body)); err != nil || got != want {
			t.Errorf("%q: %d %v", body, got, err)
		}
	}
	for _, body := range []string{"", "\x00\x00\x00\x00\x03\x08\x01", "\x01\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x03\x12\x05a", "\x00\x00\x00\x00\x01\x08", "\x00\x00\x00\x00\x02\x0d\x01"} {
		if _, err := servingStatus([]byte(body)); err == nil {
			t.Errorf("%q was taken", body)
		}
	}
}

// FuzzKeys: what clients send as cookies and queries is theirs to choose; a value
// that is found is part of it.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"k=v", "a=b; k=v", ";;;k=\"v\";", "k", "k=", "=k", "k==;k=1", "a&k=v&k=2", "&&=&k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var h exchange.Fields
		h.Add("Cookie", s)
		if v := cookieOf(&h, "k"); !strings.Contains(s, v) || strings.Contains(v, ";") {
			t.Errorf("cookie %q of %q", v, s)
		}
		if v := queryOf(s, "k"); !strings.Contains(s, v) || strings.Contains(v, "&") {
			t.Errorf("query %q of %q", v, s)
		}
	})
}

// TestLearningDoesNotAllocate: what pickers and ejection know costs a successful
// exchange no memory.
func TestLearningDoesNotAllocate(t *testing.T) {
	o := ejecting
	o.FailureRate = 0.5
	c := New(Config{Balance: "peak_ewma", Outlier: &o, Transport: nothing{}})
	defer func() { _ = c.Close() }()
	c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
	r := &run{c: c, x: keyExchange()}
	r.x.Response.Status = 200
	m := c.members[0]
	if n := testing.AllocsPerRun(100, func() { c.learn(r, m, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
