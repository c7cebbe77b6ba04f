package headers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Config is what is changed in each direction.
type Config struct {
	Request  Change `yaml:"request" doc:"changes to what the service receives"`
	Response Change `yaml:"response" doc:"changes to what the client receives"`
}

// Change is applied in this order: remove, set, add. Values may hold the
// placeholders {client_ip}, {request_id}, {trace_id} and {route}; {{route}}
// stands for itself.
type Change struct {
	Remove []string          `yaml:"remove" listify:"true" doc:"names of which every line is removed"`
	Set    map[string]string `yaml:"set" doc:"name to value, in place of any line of that name"`
	Add    map[string]string `yaml:"add" doc:"name to value, besides any line of that name"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("headers", "Adds, sets and removes header fields of requests and answers.", build)
}

// Filter changes header fields.
type Filter struct{ request, response rules }

type rules struct {
	remove   []string
	set, add []line
}

type line struct {
	name  string
	value template
}

func build(c *Config, _ *filter.Env) (any, error) {
	reserved := firewall.Default()
	request, err := compile("request", &c.Request, reserved)
	if err != nil {
		return nil, err
	}
	response, err := compile("response", &c.Response, nil)
	if err != nil {
		return nil, err
	}
	return &Filter{request, response}, nil
}

func compile(dir string, c *Change, reserved *firewall.Set) (rules, error) {
	var r rules
	for i, name := range c.Remove {
		path := fmt.Sprintf("%s.remove[%d]", dir, i)
		if err := checkName(path, name); err != nil {
			return r, err
		}
		if isToken(name) {
			return r, filter.Errorf(path, "%s carries Lintel's internal token, which only Lintel itself removes", name)
		}
		r.remove = append(r.remove, name)
	}
	var err error
	if r.set, err = lines(dir+".set", c.Set, reserved); err != nil {
		return r, err
	}
	r.add, err = lines(dir+".add", c.Add, reserved)
	return r, err
}

// lines are sorted by name, so that a table behaves the same every time.
func lines(path string, m map[string]string, reserved *firewall.Set) ([]line, error) {
	var out []line
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := path + "." + name
		if err := checkName(at, name); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, func(l line) bool { return exchange.EqualFold(l.name, name) }); i >= 0 {
			return nil, filter.Errorf(at, "%s and %s are one header: names differ by more than case", out[i].name, name)
		}
		if isToken(name) || reserved != nil && reserved.Match(name) {
			return nil, filter.Errorf(at, "%s is a reserved identity header, made only from a verified identity: use another name", name)
		}
		t, err := parse(m[name])
		if err != nil {
			return nil, filter.Errorf(at, "%s", err)
		}
		out = append(out, line{name, t})
	}
	return out, nil
}

func isToken(name string) bool {
	return exchange.EqualFold(name, firewall.TxnToken) || exchange.EqualFold(name, firewall.HopToken)
}

// checkName refuses what is no field name (RFC 9110 section 5.1) and what
// belongs to the connection or the framing (RFC 9110 section 7.6.1), which
// engines write themselves.
func checkName(path, name string) error {
	if _, err := firewall.NewSet(name); err != nil || strings.Contains(name, "*") {
		return filter.Errorf(path, "%q is no header name: want letters, digits and dashes", name)
	}
	switch strings.ToLower(name) {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"content-length", "expect", "http2-settings", "proxy-authenticate", "proxy-authorization":
		return filter.Errorf(path, "%s belongs to the connection or the framing of the message: it cannot be changed", name)
	case "host":
		return filter.Errorf(path, "Host is not a header field to Lintel: the authority is set on the service")
	}
	return nil
}

// OnRequest changes what the service receives.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	f.request.apply(x, &x.Request.Header)
	return filter.Next
}

// OnResponse changes what the client receives.
func (f *Filter) OnResponse(x *exchange.Exchange) { f.response.apply(x, &x.Response.Header) }

func (r *rules) apply(x *exchange.Exchange, h *exchange.Fields) {
	for _, name := range r.remove {
		h.Del(name)
	}
	for _, l := range r.set {
		if v := l.value.expand(x); v != "" || l.value.static() {
			h.Set(l.name, v)
		} else {
			h.Del(l.name)
		}
	}
	for _, l := range r.add {
		if v := l.value.expand(x); v != "" || l.value.static() {
			h.Add(l.name, v)
		}
	}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	return "request: " + f.request.explain() + "; response: " + f.response.explain()
}

func (r *rules) explain() string {
	var parts []string
	for _, n := range r.remove {
		parts = append(parts, "remove "+n)
	}
	for _, l := range r.set {
		parts = append(parts, "set "+l.name)
	}
	for _, l := range r.add {
		parts = append(parts, "add "+l.name)
	}
	if parts == nil {
		return "unchanged"
	}
	return strings.Join(parts, ", ")
}
