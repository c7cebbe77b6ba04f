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
// makes no map. Only walking it does.
type table struct {
	x    *exchange.Exchange
	find func(x *exchange.Exchange, name string, each func(name, value string)) (value string, n int)
}

// headerField finds a header: names in any spelling, several lines joined as one
// list (RFC 9110 section 5.3).
func headerField(x *exchange.Exchange, name string, each func(name, value string)) (string, int) {
	h := &x.Request.Header
	if each != nil {
		for i := range h.Len() {
			name := h.At(i).Name
			each(strings.ToLower(name), h.Joined(name))
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
	value, n := t.find(t.x, string(name), nil)
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
	_, n := t.find(t.x, string(name), nil)
	return types.Bool(n > 0)
}

// all is the whole as a map.
func (t *table) all() traits.Mapper {
	m := map[string]string{}
	t.find(t.x, "", func(name, value string) { m[name] = value })
	return mapOf(m)
}

func mapOf(m map[string]string) traits.Mapper {
	return types.NewStringStringMap(types.DefaultTypeAdapter, m)
}

// The rest of traits.Mapper walks, and is hardly ever asked for.

func (t *table) Size() ref.Val                                { return t.all().Size() }
func (t *table) Iterator() traits.Iterator                    { return t.all().Iterator() }
func (t *table) Equal(other ref.Val) ref.Val                  { return t.all().Equal(other) }
func (t *table) ConvertToNative(to reflect.Type) (any, error) { return t.all().ConvertToNative(to) }
func (t *table) ConvertToType(to ref.Type) ref.Val            { return t.all().ConvertToType(to) }
func (t *table) Type() ref.Type                               { return types.MapType }
func (t *table) Value() any                                   { return t.all().Value() }
