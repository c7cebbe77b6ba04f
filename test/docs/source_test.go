package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is every Go file of ours by folder, tests and test kits aside.
func source(t *testing.T) map[string][]*ast.File {
	t.Helper()
	set := token.NewFileSet()
	out := map[string][]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "test" || name == "testdata" || name == "enginetest") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		out[filepath.Dir(path)] = append(out[filepath.Dir(path)], f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(e ast.Expr) (string, bool) {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		s, err := strconv.Unquote(lit.Value)
		return s, err == nil
	}
	return "", false
}

// codesIn collects the codes of one package: in literals (Code: "…"), in
// assignments (f.Code = "…"), and in calls of functions with a parameter of
// that name.
func codesIn(files []*ast.File) map[string]bool {
	position := map[string]int{} // of the parameter code, by function
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			i := 0
			for _, p := range fn.Type.Params.List {
				for _, name := range p.Names {
					if name.Name == "code" {
						position[fn.Name.Name] = i
					}
					i++
				}
			}
		}
	}
	codes := map[string]bool{}
	add := func(e ast.Expr) {
		if s, ok := text(e); ok {
			codes[s] = true
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(key.Name, "code") {
					add(n.Value)
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if s, ok := left.(*ast.SelectorExpr); ok && strings.EqualFold(s.Sel.Name, "code") && i < len(n.Rhs) {
						add(n.Rhs[i])
					}
				}
			case *ast.CallExpr:
				name := ""
				switch fn := n.Fun.(type) {
				case *ast.Ident:
					name = fn.Name
				case *ast.SelectorExpr:
					name = fn.Sel.Name
				}
				if i, ok := position[name]; ok && i < len(n.Args) {
					add(n.Args[i])
				}
			}
			return true
		})
	}
	return codes
}

// rows are the first cells, in backquotes, of a document's tables.
func rows(doc string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(doc, -1) {
		out[m[1]] = true
	}
	return out
}

func compare(t *testing.T, document string, real, written map[string]bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(real)) {
		if !written[name] {
			t.Errorf("%s: %s is missing", document, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if !real[name] {
			t.Errorf("%s: %s is in no source file", document, name)
		}
	}
}

func TestEveryErrorCodeIsDocumented(t *testing.T) {
	codes := map[string]bool{}
	for _, files := range source(t) {
		maps.Copy(codes, codesIn(files))
	}
	if len(codes) < 30 {
		t.Fatalf("found %d codes in the source: expected more, the search is broken", len(codes))
	}
	compare(t, "docs/errors.md", codes, rows(read(t, "docs/errors.md")))
}

func TestEveryMetricIsDocumented(t *testing.T) {
	metric := regexp.MustCompile(`^(lintel|http_server|http_client)_[a-z_]+$`)
	real := map[string]bool{}
	for _, files := range source(t) {
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok {
					if s, ok := text(lit); ok && metric.MatchString(s) {
						real[s] = true
					}
				}
				return true
			})
		}
	}
	// Labels look like metrics; they stand in the text, not in the table.
	for _, label := range []string{"lintel_route", "lintel_service", "lintel_listener", "lintel_endpoint", "lintel_state", "lintel_tier"} {
		delete(real, label)
	}
	doc := read(t, "docs/operations.md")
	_, doc, ok := strings.Cut(doc, "## Metrics")
	if !ok {
		t.Fatal("docs/operations.md has no section Metrics")
	}
	doc, _, _ = strings.Cut(doc, "\n## ")
	compare(t, "docs/operations.md", real, rows(doc))
}
