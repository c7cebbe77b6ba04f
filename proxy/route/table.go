package route

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Table is a compiled Spec. It never changes; it is counted, so that what its
// routes hold is released with the last exchange that uses it.
type Table struct {
	Always []filter.Instance

	routes  []*Route // file order
	hosts   map[string]*node
	suffix  map[string]*node // wildcard hosts, by ".example.com"
	any     *node
	release func()
	hidden  []filter.HiddenQuery // of all routes, each name once
	refs    atomic.Int64
}

// node is a segment of the path tree.
type node struct {
	literal map[string]*node
	param   *node
	exact   []*Route // the path ends here
	prefix  []*Route // the path ends or goes on here
}

// Compile checks a Spec and builds its table. Every error names its place.
func Compile(s Spec) (*Table, error) {
	t := &Table{Always: s.Always, hosts: map[string]*node{}, suffix: map[string]*node{}, any: &node{}, release: s.Release}
	t.refs.Store(1)
	var errs []error
	for i := range s.Routes {
		r := &s.Routes[i]
		r.order = i
		if err := t.add(r); err != nil {
			errs = append(errs, fmt.Errorf("%s: route %s: %w", r.Pos, r.Name, err))
		}
		t.hide(r.Filters)
	}
	t.hide(t.Always)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, n := range t.roots() {
		n.sort()
	}
	return t, nil
}

func (t *Table) add(r *Route) (err error) {
	if r.pattern, err = ParsePattern(r.Match.Path); err != nil {
		return err
	}
	if r.rewrite, err = parseRewrite(r.RewritePath, r.pattern); err != nil {
		return err
	}
	for _, in := range r.Filters {
		if _, ok := in.Filter.(filter.PreflightFilter); ok {
			r.answers = true
		}
		if f, ok := in.Filter.(filter.ParamFilter); ok {
			for _, name := range f.PathParams() {
				if !r.pattern.has(name) {
					return fmt.Errorf("%s (%s): {param:%s} is no parameter of the match %q", in.Kind, in.Pos, name, r.pattern.text)
				}
			}
		}
	}
	actions := 0
	for _, has := range []bool{r.Cluster != nil, r.Find != nil, r.Redirect != nil, r.Respond != nil} {
		if has {
			actions++
		}
	}
	if actions != 1 {
		return errors.New("exactly one of service, redirect and respond must be given")
	}
	t.routes = append(t.routes, r)
	if len(r.Match.Hosts) == 0 {
		t.any.insert(r)
	}
	r.hosts = make([]hostMatch, 0, len(r.Match.Hosts))
	for _, h := range r.Match.Hosts {
		name, wildcard := strings.CutPrefix(h, "*.")
		host, ok := Host(name)
		if !ok {
			return fmt.Errorf("host %q is neither a name nor *.name", h)
		}
		m := hostMatch{host, wildcard}
		if slices.Contains(r.hosts, m) {
			return fmt.Errorf("host %q is given twice", h)
		}
		r.hosts = append(r.hosts, m)
		t.root(m).insert(r)
	}
	return nil
}

// root returns the path tree of a host, making it if need be.
func (t *Table) root(h hostMatch) *node {
	trees, key := t.hosts, h.name
	if h.wildcard {
		trees, key = t.suffix, "."+h.name
	}
	if trees[key] == nil {
		trees[key] = &node{}
	}
	return trees[key]
}

func (t *Table) roots() []*node {
	all := []*node{t.any}
	for _, n := range t.hosts {
		all = append(all, n)
	}
	for _, n := range t.suffix {
		all = append(all, n)
	}
	return all
}

func (n *node) insert(r *Route) {
	for _, seg := range r.pattern.segments {
		if _, ok := paramName(seg); ok {
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
			continue
		}
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[seg] == nil {
			n.literal[seg] = &node{}
		}
		n = n.literal[seg]
	}
	if r.pattern.prefix {
		n.prefix = append(n.prefix, r)
	} else {
		n.exact = append(n.exact, r)
	}
}

// sort puts routes of one path in Gateway API's order: a method match first,
// then more headers, then more query parameters, then file order.
func (n *node) sort() {
	slices.SortStableFunc(n.exact, precedence)
	slices.SortStableFunc(n.prefix, precedence)
	for _, c := range n.literal {
		c.sort()
	}
	if n.param != nil {
		n.param.sort()
	}
}

func precedence(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(min(len(b.Match.Methods), 1), min(len(a.Match.Methods), 1)),
		cmp.Compare(len(b.Match.Headers), len(a.Match.Headers)),
		cmp.Compare(len(b.Match.Query), len(a.Match.Query)),
		cmp.Compare(a.order, b.order),
	)
}

// Acquire takes a share in the table; it fails once the table is gone.
func (t *Table) Acquire() bool {
	for {
		n := t.refs.Load()
		if n <= 0 {
			return false
		}
		if t.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a share back.
func (t *Table) Release() {
	if end := t.Leave(); end != nil {
		end()
	}
}

// Leave gives a share back, and returns how to end what the table holds if it was the
// last, nil if not. That may take its time.
func (t *Table) Leave() (end func()) {
	if t.refs.Add(-1) == 0 {
		return t.release
	}
	return nil
}

// Routes lists the routes in file order.
func (t *Table) Routes() []*Route { return t.routes }

// PathMatch is the route's path match as text.
func (r *Route) PathMatch() string { return r.pattern.text }

// served reports whether the route is served on the exchange's listener.
func (r *Route) served(x *exchange.Exchange) bool {
	return len(r.Listeners) == 0 || slices.Contains(r.Listeners, x.Client.Listener)
}
