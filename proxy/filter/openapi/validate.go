package openapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/content"
)

// input is one request to be validated.
type input struct {
	op                  *operation
	params              map[string]string
	method, path, query string
	header              http.Header
	body                []byte
	skip                bool // there is a body that is not checked
	strict              bool
	most                int
}

// validate lists what is wrong, at most as many as are told.
func (in *input) validate(ctx context.Context) []exchange.Flaw {
	var flaws []exchange.Flaw
	values, err := url.ParseQuery(in.query)
	if err != nil {
		flaws = append(flaws, exchange.Flaw{In: "query", Detail: "a percent-encoding or separator is malformed"})
	}
	if in.strict {
		for name := range values {
			if !in.op.query[name] {
				flaws = append(flaws, exchange.Flaw{In: "query", Name: short(name), Detail: "there is no such parameter"})
			}
		}
	}
	req := &http.Request{Method: in.method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: in.header,
		URL: &url.URL{Path: in.path, RawQuery: in.query}, Body: http.NoBody}
	options := &openapi3filter.Options{MultiError: true, SkipSettingDefaults: true, ExcludeRequestBody: in.op.body == nil || in.skip,
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc} // who is calling is other filters' to judge
	if len(in.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(in.body)), int64(len(in.body))
		if flaw, ok := in.ambiguous(); ok {
			flaws = append(flaws, flaw)
			options.ExcludeRequestBody = true
		}
	}
	err = openapi3filter.ValidateRequest(ctx, &openapi3filter.RequestValidationInput{Request: req, PathParams: in.params, QueryParams: values,
		Route: &in.op.route, Options: options})
	flaws = collect(flaws, err, exchange.Flaw{})
	slices.SortStableFunc(flaws, func(a, b exchange.Flaw) int {
		return cmp.Or(cmp.Compare(slices.Index(places, a.In), slices.Index(places, b.In)), strings.Compare(a.Name, b.Name), strings.Compare(a.Pointer, b.Pointer))
	})
	return flaws[:min(len(flaws), in.most)]
}

// places are what Flaw.In says, in the order they are told.
var places = []string{"path", "query", "header", "cookie", "body"}

// ambiguous finds a name that stands twice in one object: two readers may take
// two values for it, and only one of them would be checked (RFC 8259 section 4).
func (in *input) ambiguous() (exchange.Flaw, bool) {
	if !content.IsJSON(in.header.Get("Content-Type")) {
		return exchange.Flaw{}, false
	}
	d := json.NewDecoder(bytes.NewReader(in.body))
	d.UseNumber()
	if name, twice := repeated(d); twice {
		return exchange.Flaw{In: "body", Detail: fmt.Sprintf("the name %q stands twice in one object", short(name))}, true
	}
	return exchange.Flaw{}, false
}

// repeated reads a document; what is malformed is told by who decodes it.
func repeated(d *json.Decoder) (string, bool) {
	type level struct {
		names map[string]bool // nil in a list
		key   bool            // a name comes next
	}
	var stack []level
	for {
		t, err := d.Token()
		if err != nil {
			return "", false
		}
		top := len(stack) - 1
		if delim, ok := t.(json.Delim); ok && (delim == '}' || delim == ']') {
			stack = stack[:top]
			if top--; top >= 0 {
				stack[top].key = stack[top].names != nil
			}
			continue
		}
		if top >= 0 && stack[top].key {
			name, _ := t.(string)
			if stack[top].names[name] {
				return name, true
			}
			stack[top].names[name], stack[top].key = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			stack = append(stack, level{map[string]bool{}, true})
		case json.Delim('['):
			stack = append(stack, level{})
		default:
			if top >= 0 {
				stack[top].key = stack[top].names != nil
			}
		}
	}
}

// collect takes an error of the library apart; where says what is known of the
// place so far.
func collect(flaws []exchange.Flaw, err error, where exchange.Flaw) []exchange.Flaw {
	switch e := err.(type) {
	case nil:
		return flaws
	case openapi3.MultiError:
		for _, one := range e {
			flaws = collect(flaws, one, where)
		}
		return flaws
	case *openapi3filter.RequestError:
		where.In = "body"
		if p := e.Parameter; p != nil {
			where.In, where.Name = p.In, p.Name
		}
		if e.Err != nil {
			return collect(flaws, e.Err, where)
		}
		where.Detail = short(e.Reason)
	case *openapi3filter.ParseError:
		for _, step := range e.Path() {
			where.Pointer += "/" + escape(fmt.Sprint(step))
		}
		if where.Pointer != "" {
			where.Pointer = "#" + where.Pointer
		}
		where.Detail = "cannot be read as what the API describes"
		if e.Reason != "" {
			where.Detail = short(e.Reason)
		}
	case *openapi3.SchemaError:
		instead := alternatives[e.SchemaField]
		var inner openapi3.MultiError
		if instead == "" && errors.As(e.Origin, &inner) {
			return collect(flaws, inner, where)
		}
		if steps := e.JSONPointer(); len(steps) > 0 {
			where.Pointer = "#"
			for _, s := range steps {
				where.Pointer += "/" + escape(s)
			}
		}
		switch where.Detail = instead; {
		case instead != "":
		case e.Reason == "":
			where.Detail = "does not fit " + e.SchemaField
		default:
			where.Detail = short(bare(e.Reason))
		}
	default:
		where.Detail = short(err.Error())
		if errors.Is(err, openapi3filter.ErrInvalidRequired) {
			where.Detail = "is required"
		}
	}
	if where.In == "" {
		where.In = "body"
	}
	where.Pointer = short(where.Pointer)
	return append(flaws, where)
}

// alternatives is what is said of them in place of what is wrong with each.
var alternatives = map[string]string{
	"oneOf": "does not fit exactly one of the alternatives", "anyOf": "fits none of the alternatives", "not": "is what it must not be",
}

// bare takes off a reason the place, which the validator of OpenAPI 3.1 puts in
// front in two ways, and the value, which may be a secret on its way to a log.
func bare(reason string) string {
	if rest, ok := strings.CutPrefix(reason, `error at "`); ok {
		if _, rest, ok = strings.Cut(rest, `": `); ok {
			reason = rest
		}
	}
	if rest, ok := strings.CutPrefix(reason, "at '"); ok {
		if _, rest, ok = strings.Cut(rest, "': "); ok {
			reason = rest
		}
	}
	for _, verb := range []string{"' does not match ", "' is not valid "} {
		if i := strings.Index(reason, verb); i >= 0 && reason[0] == '\'' {
			return reason[i+2:]
		}
	}
	return reason
}

// escape writes one step of a JSON pointer (RFC 6901).
func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// short keeps what is told of a request bearable, and on one line.
func short(s string) string {
	s, _, _ = strings.Cut(s, "\nSchema:")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 240 {
		s = strings.ToValidUTF8(s[:240], "") + "…"
	}
	return s
}
