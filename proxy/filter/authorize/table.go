package authorize

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"lintel.dev/lintel/proxy/exchange"
)

// table is a map of strings over what an exchange holds anyway: looking into it
// makes no map. Walking it does, and looking into it again and again, so that an
// expression costs what the limit thinks it does, however much a client sends.
type table struct {
	x     *exchange.Exchange
	find  func(x *exchange.Exchange, name string, each func(name, value string)) (value string, n int)
	list  bool // several values of a name are one, by commas
	looks int
	index map[string]entry
	names []string // of index, in order of their coming
}

type entry struct {
	value string
	n     int
}

// fewLooks is how often a table is searched before it is indexed.
const fewLooks = 8

// headerField finds a header: names in any spelling, several lines joined as one
// list (RFC 9110 section 5.3).
func headerField(x *exchange.Exchange, name string, each func(name, value string)) (string, int) {
	h := &x.Request.Header
	if each != nil {
		for name, value := range h.All() {
			each(strings.ToLower(name), value)
		}
		return "", 0
	}
	if !h.Has(name) {
		return "", 0
	}
	return h.Joined(name), 1
}

// pathParameter finds a path segment by the name that the route gives it,
// decoded, so that it can be compared with a name. What a /* matched may be
// several segments and stays as it is.
func pathParameter(x *exchange.Exchange, name string, each func(name, value string)) (value string, n int) {
	for _, p := range x.Params {
		if each == nil && p.Name != name {
			continue
		}
		v := p.Value
		if p.Name != "rest" {
			if plain, err := url.PathUnescape(v); err == nil { // a matched path's escapes are whole
				v = plain
			}
		}
		if each != nil {
			each(p.Name, v)
		} else {
			value, n = v, n+1
		}
	}
	return value, n
}

// queryParameter finds a parameter, decoded, and how often it is there.
func queryParameter(x *exchange.Exchange, name string, each func(name, value string)) (value string, n int) {
	for pair := range strings.SplitSeq(x.Request.Query, "&") {
		if pair == "" {
			continue
		}
		key, v, _ := strings.Cut(pair, "=")
		key, _ = url.QueryUnescape(key) // checked by checkQuery
		if each == nil && key != name {
			continue
		}
		v, _ = url.QueryUnescape(v)
		if each != nil {
			each(key, v)
			continue
		}
		if n++; n == 1 {
			value = v
		}
	}
	return value, n
}

// checkQuery refuses a query that a service may read in another way: with a
// broken escape, or with ";", which some take for "&".
func checkQuery(q string) error {
	if strings.IndexByte(q, ';') >= 0 {
		return fmt.Errorf("the query has a \";\", which services read in different ways")
	}
	for i := 0; i < len(q); i++ {
		if q[i] == '%' {
			if i+2 >= len(q) || !isHex(q[i+1]) || !isHex(q[i+2]) {
				return fmt.Errorf("the query has a broken percent-encoding")
			}
			i += 2
		}
	}
	return nil
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// Find implements traits.Mapper. A name that is there more than once has no one
// value: services differ in which one counts.
func (t *table) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	value, n := t.look(string(name))
	switch n {
	case 0:
		return nil, false
	case 1:
		return types.String(value), true
	}
	return types.NewErr("%q is given more than once", string(name)), false
}

// Get implements traits.Indexer.
func (t *table) Get(key ref.Val) ref.Val {
	v, found := t.Find(key)
	switch {
	case found || v != nil:
		return v
	}
	return types.NewErr("no such key: %v", key.Value())
}

// Contains implements traits.Container.
func (t *table) Contains(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key)
	}
	_, n := t.look(string(name))
	return types.Bool(n > 0)
}

func (t *table) look(name string) (string, int) {
	if t.looks++; t.index == nil && t.looks <= fewLooks {
		return t.find(t.x, name, nil)
	}
	if t.list {
		name = strings.ToLower(name)
	}
	e := t.indexed()[name]
	return e.value, e.n
}

func (t *table) indexed() map[string]entry {
	if t.index != nil {
		return t.index
	}
	t.index = map[string]entry{}
	t.find(t.x, "", func(name, value string) {
		e, again := t.index[name]
		switch {
		case !again:
			e = entry{value, 1}
			t.names = append(t.names, name)
		case t.list:
			e.value += ", " + value
		default:
			e.n++
		}
		t.index[name] = e
	})
	return t.index
}

func mapOf(m map[string]string) traits.Mapper {
	return types.NewStringStringMap(types.DefaultTypeAdapter, m)
}

// Size implements traits.Sizer.
func (t *table) Size() ref.Val { return types.Int(len(t.indexed())) }

// Iterator implements traits.Iterable.
func (t *table) Iterator() traits.Iterator {
	t.indexed()
	return &walk{names: t.names}
}

// all is the whole as a map, for what is hardly ever asked.
func (t *table) all() traits.Mapper {
	m := make(map[string]string, len(t.indexed()))
	for name, e := range t.indexed() {
		m[name] = e.value
	}
	return mapOf(m)
}

// Equal implements ref.Val.
func (t *table) Equal(other ref.Val) ref.Val { return t.all().Equal(other) }

// ConvertToNative implements ref.Val.
func (t *table) ConvertToNative(to reflect.Type) (any, error) { return t.all().ConvertToNative(to) }

// ConvertToType implements ref.Val.
func (t *table) ConvertToType(to ref.Type) ref.Val { return t.all().ConvertToType(to) }

// Type implements ref.Val.
func (t *table) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (t *table) Value() any { return t.all().Value() }

// walk is an iterator over names: types' own lists all keys anew for every one.
type walk struct {
	names []string
	next  int
}

// HasNext implements traits.Iterator.
func (w *walk) HasNext() ref.Val { return types.Bool(w.next < len(w.names)) }

// Next implements traits.Iterator.
func (w *walk) Next() ref.Val {
	if w.next >= len(w.names) {
		return nil
	}
	w.next++
	return types.String(w.names[w.next-1])
}

// ConvertToNative implements ref.Val.
func (w *walk) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("an iterator is no %v", to)
}

// ConvertToType implements ref.Val.
func (w *walk) ConvertToType(ref.Type) ref.Val { return types.NewErr("no such overload") }

// Equal implements ref.Val.
func (w *walk) Equal(ref.Val) ref.Val { return types.NewErr("no such overload") }

// Type implements ref.Val.
func (w *walk) Type() ref.Type { return types.IteratorType }

// Value implements ref.Val.
func (w *walk) Value() any { return nil }
