package authorize

import (
	"net/url"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// FuzzQuery: what looks one parameter up and what walks them agree, and agree
// with net/url where that accepts the query.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"a=1&b=2", "a=1&a=2", "%61=1&a", "=&&=", "a=%zz", "a;b", "a=+%2b", "%00=1"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) { checkFuzzed(t, q) })
}

func checkFuzzed(t *testing.T, q string) {
	x := &exchange.Exchange{}
	x.Request.Query = q
	want, err := url.ParseQuery(q)
	if refused := checkQuery(q); (refused == nil) != (err == nil) {
		t.Fatalf("%q: %v here, %v by net/url", q, refused, err)
	}
	if err != nil {
		return
	}
	all := map[string]bool{}
	queryParameter(x, "", func(name, _ string) { all[name] = true })
	if len(all) != len(want) {
		t.Fatalf("%q: walked %v, want %v", q, all, want)
	}
	for name, values := range want {
		if value, n := queryParameter(x, name, nil); n != len(values) || value != values[0] {
			t.Errorf("%q: %q is %q %d times, want %q", q, name, value, n, values)
		}
	}
}
