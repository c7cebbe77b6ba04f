package rules_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOnlyTheEngineUsesNetHTTP: status codes and method names are fine anywhere
// in the data plane; but what serves, dials or sends HTTP is the engine's, so
// that nothing else knows which engine runs. Fetching an issuer's keys, asking an
// authorizer and ordering certificates is a client's work and no proxying.
func TestOnlyTheEngineUsesNetHTTP(t *testing.T) {
	machinery := []string{"Server", "Transport", "Client", "RoundTripper", "Handler", "HandlerFunc", "ServeMux", "ResponseWriter",
		"ResponseController", "Request", "Response", "Header", "Serve", "ListenAndServe", "Get", "Post", "Head", "NewRequest",
		"NewRequestWithContext", "DefaultClient", "DefaultTransport", "Hijacker", "Flusher", "Protocols"}
	exempt := map[string][]string{
		"proxy/nethttp":     machinery,
		"proxy/listen/acme": {"Transport", "Client"},
		"proxy/filter/ask":  {"Transport", "Request", "NewRequestWithContext"},
		"proxy/filter/jwt":  {"Transport", "DefaultTransport", "Client", "Request", "Response", "NewRequestWithContext"},
		// The validator takes requests as net/http has them; none is served or sent.
		"proxy/filter/openapi": {"Request", "Header"},
	}
	set := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir(filepath.Join(root, "proxy"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil || isKit(dir) {
			return err
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name := httpName(f)
		if name == "" {
			return nil
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == name && slices.Contains(machinery, s.Sel.Name) {
				seen++
				if !slices.Contains(exempt[dir], s.Sel.Name) {
					t.Errorf("%s: %s uses http.%s: nothing but an engine may know how requests are served and sent", set.Position(s.Pos()), dir, s.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("nothing in proxy/ uses net/http: the search is broken")
	}
}

// httpName is what a file calls net/http, "" when it does not import it.
func httpName(f *ast.File) string {
	for _, i := range f.Imports {
		if i.Path.Value != `"net/http"` {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return "http"
	}
	return ""
}
