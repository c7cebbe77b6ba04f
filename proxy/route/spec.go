package route

import (
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Spec is what a table is compiled from. Modes build it from a snapshot.
type Spec struct {
	Always  []filter.Instance // run on every exchange, before matching
	Routes  []Route
	Release func() // called once, when the last exchange of the table is over
}

// Route is one route: what it matches and what is done then. Exactly one of
// Cluster, Find, Redirect and Respond is set.
type Route struct {
	Name      string
	Pos       string                           // file:line
	Place     func(service, key string) string // of a key of the route, or of that service's section, as file:line; "" if not given. May be nil
	Match     Match
	Listeners []string // all when empty
	Filters   []filter.Instance

	Cluster  *cluster.Cluster
	Find     func(*exchange.Exchange) (*cluster.Cluster, *exchange.Fault) // for destinations known only at run time
	Redirect *Redirect
	Respond  *Respond

	Shadow *Shadow // where copies of exchanges go; nil when none are made

	Forward           cluster.Options
	Before            func(*exchange.Exchange, *exchange.ConnInfo) error // becomes the exchange's BeforeWrite
	StripPrefix       string
	RewritePath       string
	RewriteHost       string
	DropAuthorization bool
	Priority          exchange.Priority // Default: as the caller says
	StreamIdle        int64             // nanoseconds; 0 is unlimited
	TunnelIdle        int64             // the same of tunnels, in both directions

	pattern Pattern
	hosts   []hostMatch
	rewrite []piece
	order   int
	answers bool // a filter answers preflights
}

// Shadow is the service that gets copies of a route's exchanges (Exchange.Mirror).
type Shadow struct {
	Cluster *cluster.Cluster
	Forward cluster.Options
	Before  func(*exchange.Exchange, *exchange.ConnInfo) error
}

// hostMatch is one of Match.Hosts in the form Host returns.
type hostMatch struct {
	name     string
	wildcard bool
}

func (m hostMatch) matches(host string) bool {
	if !m.wildcard {
		return host == m.name
	}
	before, ok := strings.CutSuffix(host, m.name)
	return ok && len(before) > 1 && before[len(before)-1] == '.'
}

// Match selects exchanges. All that is given must match.
type Match struct {
	Hosts   []string // exact, *.suffix; any when empty
	Path    string   // /exact, /prefix/*, /with/{name}; any when empty
	Methods []string
	Headers []Field
	Query   []Field
}

// Field is a name and the exact value it must have, "*" for any.
type Field struct{ Name, Value string }

// Redirect answers with a Location.
type Redirect struct {
	Status             int
	Scheme, Host, Path string
}

// Respond is a fixed answer.
type Respond struct {
	Status int
	Header []exchange.Field
	Body   []byte
}

// Pattern is a compiled path match.
type Pattern struct {
	text     string
	segments []string // "{name}" for a parameter
	prefix   bool
}

// ParsePattern checks a path match and returns its normal form.
func ParsePattern(text string) (Pattern, error) {
	if text == "" {
		text = "/*"
	}
	p := Pattern{text: text}
	body := text
	if strings.HasSuffix(body, "/*") {
		p.prefix = true
		body = strings.TrimSuffix(body, "/*")
	}
	if body == "" && p.prefix {
		return p, nil
	}
	if !strings.HasPrefix(body, "/") {
		return p, fmt.Errorf("path %q must begin with a slash", text)
	}
	seen := map[string]bool{}
	for seg := range strings.SplitSeq(body[1:], "/") {
		if name, ok := paramName(seg); ok {
			if name == "" || seen[name] || name == "rest" || strings.ContainsAny(name, "{}*") {
				return p, fmt.Errorf("path %q: parameter %q is empty, reserved, used twice or not one name", text, seg)
			}
			seen[name] = true
			p.segments = append(p.segments, seg)
			continue
		}
		if strings.ContainsAny(seg, "*{}") {
			return p, fmt.Errorf("path %q: segment %q: * stands only at the end as /*, and a parameter is a whole segment like {id}", text, seg)
		}
		n, err := NormalizePath("/"+escape(seg), KeepEncoded)
		if err != nil {
			return p, fmt.Errorf("path %q: %w", text, err)
		}
		if seg != "" && n == "/" {
			return p, fmt.Errorf("path %q: dot segments never match, since requests have theirs resolved", text)
		}
		p.segments = append(p.segments, n[1:])
	}
	for i, seg := range p.segments {
		if seg == "" && (i != len(p.segments)-1 || p.prefix) {
			return p, fmt.Errorf("path %q: empty segments never match, since requests have theirs merged", text)
		}
	}
	return p, nil
}

func paramName(seg string) (string, bool) {
	if len(seg) >= 2 && seg[0] == '{' && seg[len(seg)-1] == '}' {
		return seg[1 : len(seg)-1], true
	}
	return "", false
}

// escape encodes what a person may write literally in a config path.
func escape(seg string) string {
	var b strings.Builder
	for i := 0; i < len(seg); i++ {
		c := seg[i]
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' || c == '"' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// piece is a literal or a parameter of a rewrite.
type piece struct{ literal, param string }

func parseRewrite(text string, p Pattern) ([]piece, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("rewrite path %q must begin with a slash", text)
	}
	var out []piece
	whole := text
	for text != "" {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			out = append(out, piece{literal: escape(text)})
			break
		}
		end := strings.IndexByte(text[open:], '}')
		if end < 0 {
			return nil, fmt.Errorf("rewrite path: unclosed { in %q", text)
		}
		name := text[open+1 : open+end]
		if !p.has(name) {
			return nil, fmt.Errorf("rewrite path: {%s} is no parameter of the match %q", name, p.text)
		}
		out = append(out, piece{literal: escape(text[:open])}, piece{param: name})
		text = text[open+end+1:]
	}
	for _, piece := range out {
		if _, err := NormalizePath("/"+piece.literal, KeepEncoded); err != nil {
			return nil, fmt.Errorf("rewrite path %q: %w", whole, err)
		}
	}
	return out, nil
}

func (p *Pattern) has(name string) bool {
	if name == "rest" {
		return p.prefix
	}
	for _, seg := range p.segments {
		if n, ok := paramName(seg); ok && n == name {
			return true
		}
	}
	return false
}
