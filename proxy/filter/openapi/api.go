package openapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// api is a document compiled for matching.
type api struct {
	doc        *openapi3.T
	base       string          // without a slash at its end
	paths      map[int][]*path // by number of segments, in the order they are tried
	operations int
}

// path is one template of the document.
type path struct {
	template string
	segments []segment
	methods  map[string]*operation
	allow    string // for 405
}

// segment is literal text with parameters in between: "{id}.json" is "", id,
// ".json".
type segment struct {
	literals []string // one more than names
	names    []string
}

// operation is what the document says of a method on a path.
type operation struct {
	route routers.Route
	query map[string]bool // the parameters it has
	body  *openapi3.RequestBody
	types string // for 415
}

func newAPI(doc *openapi3.T) (*api, error) {
	a := &api{doc: doc, paths: map[int][]*path{}}
	for _, template := range doc.Paths.InMatchingOrder() {
		p := &path{template: template, methods: map[string]*operation{}}
		for s := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
			seg, err := parseSegment(s)
			if err != nil {
				return nil, fmt.Errorf("path %s: %w", template, err)
			}
			p.segments = append(p.segments, seg)
		}
		item := doc.Paths.Value(template)
		for method, op := range item.Operations() {
			p.methods[method] = newOperation(doc, template, method, item, op)
			a.operations++
		}
		if get := p.methods["GET"]; get != nil && p.methods["HEAD"] == nil {
			p.methods["HEAD"] = get // RFC 9110 section 9.3.2
		}
		var methods []string
		for m := range p.methods {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		p.allow = strings.Join(methods, ", ")
		a.paths[len(p.segments)] = append(a.paths[len(p.segments)], p)
	}
	if len(doc.Servers) > 0 {
		server := doc.Servers[0].URL
		for name, v := range doc.Servers[0].Variables {
			server = strings.ReplaceAll(server, "{"+name+"}", v.Default)
		}
		u, err := url.Parse(server)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", server, err)
		}
		if a.base, err = cleanBase("/" + strings.TrimPrefix(u.Path, "/")); err != nil {
			return nil, fmt.Errorf("server %s: %w", server, err)
		}
	}
	return a, nil
}

func newOperation(doc *openapi3.T, template, method string, item *openapi3.PathItem, op *openapi3.Operation) *operation {
	o := &operation{route: routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: op}, query: map[string]bool{}}
	for _, list := range []openapi3.Parameters{item.Parameters, op.Parameters} {
		for _, p := range list {
			if p.Value.In == openapi3.ParameterInQuery {
				o.query[p.Value.Name] = true
			}
		}
	}
	if op.RequestBody != nil {
		o.body = op.RequestBody.Value
		types := make([]string, 0, len(o.body.Content))
		for t := range o.body.Content {
			types = append(types, t)
		}
		slices.Sort(types)
		o.types = strings.Join(types, ", ")
	}
	return o
}

// cleanBase checks a path before others.
func cleanBase(s string) (string, error) {
	if s == "/" {
		return "", nil
	}
	s = strings.TrimSuffix(s, "/")
	if s != "" && s[0] != '/' || strings.ContainsAny(s, "?#{}") || strings.Contains(s, "//") {
		return "", fmt.Errorf("found %q, want a path like /api/v1", s)
	}
	return s, nil
}

func parseSegment(s string) (segment, error) {
	var out segment
	for {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			out.literals = append(out.literals, s)
			return out, nil
		}
		end := strings.IndexByte(s[open:], '}')
		if end < 2 {
			return out, fmt.Errorf("segment %s: want a name between { and }", s)
		}
		out.literals, out.names = append(out.literals, s[:open]), append(out.names, s[open+1:open+end])
		s = s[open+end+1:]
		if strings.HasPrefix(s, "{") {
			return out, fmt.Errorf("two parameters stand side by side: nobody can tell where the first ends")
		}
	}
}

// match adds the segment's parameters to params. A parameter is as short as can
// be, but never empty.
func (s *segment) match(text string, params map[string]string) bool {
	text, ok := strings.CutPrefix(text, s.literals[0])
	if !ok {
		return false
	}
	for i, name := range s.names {
		after := s.literals[i+1]
		at := len(text)
		switch last := i == len(s.names)-1; {
		case last && !strings.HasSuffix(text, after):
			return false
		case last:
			at -= len(after)
		default:
			if at = strings.Index(text, after); at == 0 {
				if at = strings.Index(text[1:], after); at >= 0 {
					at++
				}
			}
		}
		if at <= 0 {
			return false
		}
		params[name], text = text[:at], text[at+len(after):]
	}
	return text == ""
}

// find returns the path that an escaped request path fits, with its parameters
// unescaped: concrete paths before templated ones (OpenAPI 3.0 section 4.7.8.2).
func (a *api) find(escaped string) (*path, map[string]string) {
	rest, ok := strings.CutPrefix(escaped, a.base)
	if !ok || rest != "" && rest[0] != '/' {
		return nil, nil
	}
	segments := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	for i, s := range segments {
		if plain, err := url.PathUnescape(s); err == nil {
			segments[i] = plain
		}
	}
	for _, p := range a.paths[len(segments)] {
		params := map[string]string{}
		fits := true
		for i := range p.segments {
			if fits = p.segments[i].match(segments[i], params); !fits {
				break
			}
		}
		if fits {
			return p, params
		}
	}
	return nil, nil
}
