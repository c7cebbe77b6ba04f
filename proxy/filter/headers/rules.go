package headers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/filter/template"
)

// Change is applied in this order: remove, rename, set, add. Values may hold
// placeholders (package template).
type Change struct {
	Remove []string          `yaml:"remove" listify:"true" doc:"names of which every line is removed"`
	Rename map[string]string `yaml:"rename" doc:"name to new name; what had the new name goes if there is a line to rename"`
	Set    map[string]string `yaml:"set" doc:"name to value, in place of any line of that name; placeholders as {claim:sub}, {client_ip} or {header:X-A} are filled in, and if none of them has a value the lines are removed"`
	Add    map[string]string `yaml:"add" doc:"name to value, besides any line of that name"`
}

// Rules is a compiled Change.
type Rules struct {
	remove   []string
	rename   [][2]string
	set, add []line
}

type line struct {
	name  string
	value *template.Template
	fixed bool // without placeholders
}

// Compile checks a Change, which stands at path dir. What a request may not be
// given, a name for a verified identity, an answer may carry.
func Compile(dir string, c *Change, request bool) (*Rules, error) {
	var reserved *firewall.Set
	if request {
		reserved = firewall.Default()
	}
	r := &Rules{}
	for i, name := range c.Remove {
		path := fmt.Sprintf("%s.remove[%d]", dir, i)
		if err := taken(path, name); err != nil {
			return nil, err
		}
		r.remove = append(r.remove, name)
	}
	for _, from := range slices.Sorted(maps.Keys(c.Rename)) {
		path, to := dir+".rename."+from, c.Rename[from]
		if err := taken(path, from); err != nil {
			return nil, err
		}
		if err := given(path, to, reserved); err != nil {
			return nil, err
		}
		if exchange.EqualFold(from, to) {
			return nil, filter.Errorf(path, "%s and %s are one header already: case does not count", from, to)
		}
		r.rename = append(r.rename, [2]string{from, to})
	}
	var err error
	if r.set, err = lines(dir+".set", c.Set, reserved); err != nil {
		return nil, err
	}
	if r.add, err = lines(dir+".add", c.Add, reserved); err != nil {
		return nil, err
	}
	return r, nil
}

// lines are sorted by name, so that a table behaves the same every time.
func lines(path string, m map[string]string, reserved *firewall.Set) ([]line, error) {
	var out []line
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := path + "." + name
		if err := given(at, name, reserved); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, func(l line) bool { return exchange.EqualFold(l.name, name) }); i >= 0 {
			return nil, filter.Errorf(at, "%s and %s are one header: names differ by more than case", out[i].name, name)
		}
		value := m[name]
		if strings.Trim(value, " \t") != value {
			return nil, filter.Errorf(at, "%q begins or ends with white space, which is lost on the wire", value)
		}
		t, err := template.Parse(value)
		if err != nil {
			return nil, filter.Errorf(at, "%s", err)
		}
		_, fixed := t.Static()
		out = append(out, line{name, t, fixed})
	}
	return out, nil
}

// taken checks a name that is taken off.
func taken(path, name string) error {
	if err := checkName(path, name); err != nil {
		return err
	}
	if isToken(name) {
		return filter.Errorf(path, "%s carries Lintel's internal token, which only Lintel itself removes", name)
	}
	return nil
}

// given checks a name that is put on.
func given(path, name string, reserved *firewall.Set) error {
	if err := checkName(path, name); err != nil {
		return err
	}
	if isToken(name) || reserved != nil && reserved.Match(name) {
		return filter.Errorf(path, "%s is a reserved identity header, made only from a verified identity: use another name", name)
	}
	return nil
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

// Apply changes h, which is x's request or answer.
func (r *Rules) Apply(x *exchange.Exchange, h *exchange.Fields) {
	for _, name := range r.remove {
		h.Del(name)
	}
	for i := range r.rename {
		rename(h, r.rename[i][0], r.rename[i][1])
	}
	for i := range r.set {
		l := &r.set[i]
		if v := l.value.Expand(x, template.Field); v != "" || l.fixed {
			h.Set(l.name, v)
		} else {
			h.Del(l.name)
		}
	}
	for i := range r.add {
		l := &r.add[i]
		if v := l.value.Expand(x, template.Field); v != "" || l.fixed {
			h.Add(l.name, v)
		}
	}
}

func rename(h *exchange.Fields, from, to string) {
	if !h.Has(from) {
		return
	}
	h.Del(to)
	for i, n := 0, h.Len(); i < n; {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, from) {
			i++
			continue
		}
		h.Remove(i)
		h.Add(to, f.Value)
		n--
	}
}

// Empty reports whether nothing is changed.
func (r *Rules) Empty() bool {
	return len(r.remove)+len(r.rename)+len(r.set)+len(r.add) == 0
}

// Explain says what is changed, in one line.
func (r *Rules) Explain() string {
	var parts []string
	for _, n := range r.remove {
		parts = append(parts, "remove "+n)
	}
	for _, p := range r.rename {
		parts = append(parts, "rename "+p[0]+" to "+p[1])
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
