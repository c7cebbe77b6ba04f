package jsonbody

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func mustCompile(t testing.TB, e Edits) *edits {
	t.Helper()
	out, err := compile("response", &e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEdits(t *testing.T) {
	set := func(kv ...any) Edits {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return Edits{Set: m}
	}
	for _, c := range []struct {
		name     string
		e        Edits
		in, want string
	}{
		{"drop", Edits{Drop: []string{"b", "z"}}, `{"a":1,"b":{"x":[1,"}"]},"c":"\"b\":1"}`, `{"a":1,"c":"\"b\":1"}`},
		{"drop first and last", Edits{Drop: []string{"a", "c"}}, ` { "a" : 1 , "b" : 2.50e+10 , "c" : null } `, `{"b":2.50e+10}`},
		{"drop every copy", Edits{Drop: []string{"a"}}, `{"a":1,"b":2,"a":3,"\u0061":4}`, `{"b":2}`},
		{"drop below", Edits{Drop: []string{"a.b.c"}}, `{"a":{"b":{"c":1,"d":2},"c":3}}`, `{"a":{"b":{"d":2},"c":3}}`},
		{"drop in lists", Edits{Drop: []string{"items.secret"}}, `{"items":[{"id":1,"secret":2},[{"secret":3}],"secret"]}`, `{"items":[{"id":1},[{}],"secret"]}`},
		{"a list as the whole", Edits{Drop: []string{"s"}}, `[{"s":1},{"t":2}, 3]`, `[{},{"t":2},3]`},
		{"nothing to drop", Edits{Drop: []string{"a.b"}}, `{"a":5}`, `{"a":5}`},
		{"no object", Edits{Drop: []string{"a"}}, ` "a" `, `"a"`},
		{"dots in names", Edits{Drop: []string{`a\.b`, `c\\d`}}, `{"a.b":1,"c\\d":2,"a":{"b":3}}`, `{"a":{"b":3}}`},
		{"numbers and spelling stay", Edits{Drop: []string{"x"}}, `{"n":12345678901234567890.10,"u":"\u00e9\/","e":1E400,"x":0}`, `{"n":12345678901234567890.10,"u":"\u00e9\/","e":1E400}`},
		{"pick", Edits{Pick: []string{"c", "a"}}, `{"a":1,"b":2,"c":{"d":3}}`, `{"a":1,"c":{"d":3}}`},
		{"pick below", Edits{Pick: []string{"a.b", "c"}}, `{"a":{"b":1,"x":2},"c":3,"d":4}`, `{"a":{"b":1},"c":3}`},
		{"pick below what has no members", Edits{Pick: []string{"a.b"}}, `{"a":"secret"}`, `{}`},
		{"pick in a list of the same", Edits{Pick: []string{"a.b"}}, `{"a":["secret",{"b":1,"c":2},["x",{"b":3}],null]}`, `{"a":[{"b":1},[{"b":3}]]}`},
		{"pick in lists", Edits{Pick: []string{"id"}}, `[{"id":1,"x":2},{"y":3}]`, `[{"id":1},{}]`},
		{"pick the whole and a part", Edits{Pick: []string{"a", "a.b"}}, `{"a":{"b":1,"c":2}}`, `{"a":{"b":1,"c":2}}`},
		{"pick but drop a part", Edits{Pick: []string{"a"}, Drop: []string{"a.b"}}, `{"a":{"b":1,"c":2},"d":3}`, `{"a":{"c":2}}`},
		{"rename", Edits{Rename: map[string]string{"a": "x", "b.c": "y\"z"}}, `{"a":1,"b":{"c":2}}`, `{"x":1,"b":{"y\"z":2}}`},
		{"rename takes the place", Edits{Rename: map[string]string{"a": "b"}}, `{"b":9,"a":1}`, `{"b":1}`},
		{"nothing to rename", Edits{Rename: map[string]string{"a": "b"}}, `{"b":9}`, `{"b":9}`},
		{"swap", Edits{Rename: map[string]string{"a": "b", "b": "a"}}, `{"a":1,"b":2}`, `{"b":1,"a":2}`},
		{"rename in lists", Edits{Rename: map[string]string{"i.a": "b"}}, `{"i":[{"a":1},{"a":{"a":2}}]}`, `{"i":[{"b":1},{"b":{"a":2}}]}`},
		{"set", set("b", 7, "z", true), `{"a":1,"b":2,"b":3}`, `{"a":1,"b":7,"z":true}`},
		{"set in an empty object", set("a", "<x>"), `{}`, `{"a":"<x>"}`},
		{"set below", set("a.b", nil, "a.c.d", []any{1, "x"}), `{"a":{"b":1}}`, `{"a":{"b":null,"c":{"d":[1,"x"]}}}`},
		{"set below what is not there", set("a.b.c", 1.5, "a.b.d", map[string]any{"e": 1}), `{"x":0}`, `{"x":0,"a":{"b":{"c":1.5,"d":{"e":1}}}}`},
		{"set below what has no members", set("a.b", 1), `{"a":5}`, `{"a":5}`},
		{"set in lists", set("v", 1), `[{"v":0},{}]`, `[{"v":1},{"v":1}]`},
		{"set from the request", set("by", "{claim:sub} <{client_ip}>", "id", "{request_id}", "old", "{claim:none}", "new.x", "{claim:none}"), `{"old":"a client's"}`, `{"by":"a\"b \u003c\u003e","id":"r-1"}`},
		{"wrap", Edits{Wrap: "da\"ta"}, ` [1] `, `{"da\"ta": [1] }`},
		{"all", Edits{Drop: []string{"a"}, Pick: []string{"a", "b", "c"}, Rename: map[string]string{"b": "d"}, Set: map[string]any{"d": 1, "e": 2}, Wrap: "w"}, `{"a":1,"b":2,"c":3,"f":4}`, `{"w":{"d":1,"c":3,"e":2}}`},
	} {
		x := &exchange.Exchange{ID: "r-1", Identity: &exchange.Identity{Claims: map[string]any{"sub": `a"b`}}}
		got, err := mustCompile(t, c.e).prepare(x).apply([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.name, err, got, c.want)
		}
	}
}

func TestMalformedDocumentsAreTold(t *testing.T) {
	p := mustCompile(t, Edits{Drop: []string{"a"}}).prepare(&exchange.Exchange{})
	for _, doc := range []string{"", "{", `{"a":1}{}`, `{"a":1,}`, `{a:1}`, `{"a":01}`, "\ufeff{}", `{"a":"` + "\n" + `"}`, `{"a"}`, "[1,]", "nul"} {
		if _, err := p.apply([]byte(doc)); err != errMalformed {
			t.Errorf("%q: %v", doc, err)
		}
	}
}

// TestNestingCostsNoMoreThanLength: what is nested deeply, as an attacker would
// have it, takes about as long as what is flat.
func TestNestingCostsNoMoreThanLength(t *testing.T) {
	p := mustCompile(t, Edits{Drop: []string{"a.b"}, Rename: map[string]string{"a.c": "d"}, Set: map[string]any{"a.e": 1}}).prepare(&exchange.Exchange{})
	const n = 400_000
	flat := []byte(`{"a":[` + strings.Repeat(`1,`, n/2) + `1]}`)
	deep := []byte(`{"a":` + strings.Repeat("[", 9000) + strings.Repeat(`1,`, n/2) + "1" + strings.Repeat("]", 9000) + "}")
	took := func(doc []byte) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			if _, err := p.apply(doc); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	if a, b := took(flat), took(deep); b > 20*a {
		t.Errorf("flat takes %v, nested 9000 times %v", a, b)
	}
}

// reference makes drop, pick and set by encoding/json's maps.
func reference(v any, drop, set string) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, drop)
		v[set] = json.Number("1")
	case []any:
		for i := range v {
			v[i] = reference(v[i], drop, set)
		}
	}
	return v
}

func decode(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// FuzzEdit: the result is well-formed and means what the same edits of decoded
// values mean.
func FuzzEdit(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[{"a":2}],"s":3}`, `[[{"a":"\"}"}],1]`, `{"\u0061":{},"a":[]}`, ` {"s":{"a":1} , "x":"\\"} `, `"x"`, `{"":0}`, `[{},{"s":[1,{"a":1}]}]`} {
		f.Add([]byte(s))
	}
	compiled, err := compile("request", &Edits{Drop: []string{"a"}, Set: map[string]any{"s": 1}})
	if err != nil {
		f.Fatal(err)
	}
	wide, err := compile("request", &Edits{Pick: []string{"a.b", "c"}, Rename: map[string]string{"a.b": "d", "c": "a"}, Set: map[string]any{"x.y": "{request_id}"}, Wrap: "w"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		x := &exchange.Exchange{ID: "1"}
		got, err := compiled.prepare(x).apply(doc)
		if (err == nil) != json.Valid(doc) {
			t.Fatalf("%q: %v", doc, err)
		}
		if err != nil {
			return
		}
		before, err := decode(doc)
		if err != nil {
			t.Fatal(err)
		}
		after, err := decode(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", doc, got, err)
		}
		if want := reference(before, "a", "s"); !reflect.DeepEqual(after, want) {
			t.Errorf("%q became %q", doc, got)
		}
		if got, err := wide.prepare(x).apply(doc); err != nil || !json.Valid(got) {
			t.Errorf("%q became %q: %v", doc, got, err)
		}
	})
}

func BenchmarkEdit(b *testing.B) {
	var doc bytes.Buffer
	doc.WriteString(`{"items":[`)
	for i := range 500 {
		if i > 0 {
			doc.WriteByte(',')
		}
		doc.WriteString(`{"id":12345,"name":"a name that is somewhat long","email":"someone@example.com","secret":{"a":[1,2,3]}}`)
	}
	doc.WriteString(`]}`)
	e := mustCompile(b, Edits{Drop: []string{"items.secret"}, Set: map[string]any{"source": "gateway"}})
	b.SetBytes(int64(doc.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.prepare(&exchange.Exchange{}).apply(doc.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
