package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxDocument bounds each file of a document, in bytes; maxTold the complaints
// about it.
const (
	maxDocument = 16 << 20
	maxTold     = 20
)

// load reads and checks a document. Errors say file and line where they are
// known.
func load(path string) (*api, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	loader.IncludeOrigin = true
	loader.IsExternalRefsAllowed = true
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, u *url.URL) ([]byte, error) { return readBelow(folder, u) }
	doc, err := loader.LoadFromURI(&url.URL{Path: filepath.ToSlash(filepath.Join(folder, filepath.Base(abs)))})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.0") && !strings.HasPrefix(doc.OpenAPI, "3.1") {
		return nil, fmt.Errorf("%s: openapi is %q: want 3.0 or 3.1", path, doc.OpenAPI)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableMultiError(), openapi3.DisableExamplesValidation()); err != nil {
		return nil, complaints(path, err)
	}
	return newAPI(doc)
}

// readBelow reads files of the document's own folder: a document comes from
// elsewhere more often than not, and must not read the machine's secrets or ask
// its network.
func readBelow(folder string, u *url.URL) ([]byte, error) {
	if u.Scheme != "" && u.Scheme != "file" || u.Host != "" {
		return nil, fmt.Errorf("reference to %s: only files beside the document are read", u.Redacted())
	}
	real, err := filepath.EvalSymlinks(filepath.FromSlash(u.Path))
	if err != nil {
		return nil, err
	}
	if below, err := filepath.Rel(folder, real); err != nil || !filepath.IsLocal(below) {
		return nil, fmt.Errorf("reference to %s: only files in the document's folder and below are read", u.Path)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxDocument {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", real, maxDocument)
	}
	return os.ReadFile(real)
}

// complaints lists what is wrong with a document, one per line.
func complaints(path string, err error) error {
	var all openapi3.MultiError
	flatten(err, &all)
	var lines []string
	for i, one := range all {
		if i == maxTold {
			lines = append(lines, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		at := path
		if loc := place(one); loc != nil {
			at = fmt.Sprintf("%s:%d", base(path, loc.File), loc.Line)
		}
		text, _, _ := strings.Cut(one.Error(), "\nSchema:")
		lines = append(lines, at+": "+strings.Join(strings.Fields(text), " "))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// base writes another file of the document as the document itself is written.
func base(path, file string) string {
	if file == "" || filepath.Base(file) == filepath.Base(path) {
		return path
	}
	return filepath.Join(filepath.Dir(path), filepath.Base(file))
}

func flatten(err error, out *openapi3.MultiError) {
	if m, ok := err.(openapi3.MultiError); ok {
		for _, e := range m {
			flatten(e, out)
		}
		return
	}
	*out = append(*out, err)
}

// place finds where an error's element stands: the innermost of the errors it
// wraps that knows. The library's error types have it in a field of one name
// and share no interface for it.
func place(err error) *openapi3.Location {
	var found *openapi3.Location
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		if f := v.FieldByName("Origin"); f.IsValid() && f.CanInterface() {
			if o, ok := f.Interface().(*openapi3.Origin); ok && o != nil && o.Key != nil {
				found = o.Key
			}
		}
	}
	return found
}
