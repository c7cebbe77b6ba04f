package config

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzParse: no input panics, an error has positions within the file, and what
// is accepted can be shown.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		fullText(), full, "", "version: 1\n", "a: &x [*x]", "<<: {version: 1}\n", "version: ${X:-1}\n",
		"version: 1\nroutes: [{name: a, filters: [cors, {x: {y: [1]}}]}]\n", "? a\n: b\n", "a: |\n  x\n b: >-\n",
		"version: 1\nservices:\n  a: &s {static: h:1}\n  b: {<<: *s, mesh: true}\n", "{a: [}", "\ta", "%", "---\n---\n", "&a", "*", "!!x y",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.yaml", data)
		if err != nil {
			var es Errors
			if !errors.As(err, &es) || len(es) == 0 {
				t.Fatalf("not Errors: %v", err)
			}
			lines := 2
			for _, c := range data {
				if c == '\n' {
					lines++
				}
			}
			for _, e := range es {
				if e.Line < 0 || e.Line > lines || e.Msg == "" {
					t.Fatalf("%+v of %d lines", e, lines)
				}
			}
			es.Detail()
			return
		}
		for _, r := range s.Routes {
			for _, flt := range r.Filters {
				_ = flt.Section.Decode(&signer{})
				_ = flt.Section.Pos("a[0].b")
			}
		}
		if _, err := json.Marshal(Dump(s)); err != nil {
			t.Fatal(err)
		}
	})
}
