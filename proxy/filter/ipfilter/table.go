package ipfilter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Table is a set of addresses, for filters that ask who calls. The zero value
// has none.
type Table struct{ t table }

// ParseTable reads addresses and ranges and says which entry is wrong.
func ParseTable(list []string) (t *Table, at int, err error) {
	prefixes := make([]netip.Prefix, len(list))
	for i, s := range list {
		if prefixes[i], err = parsePrefix(s); err != nil {
			return nil, i, err
		}
	}
	return &Table{*newTable(prefixes)}, 0, nil
}

// Has reports whether a is in the set.
func (t *Table) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsValid() && t.t.has(a)
}

// table is a set of addresses as ranges that neither meet nor overlap, sorted:
// a look-up is a binary search, whatever the number of prefixes.
type table struct{ v4, v6 []span }

// span is a range, both ends included.
type span struct{ from, to netip.Addr }

// parsePrefix reads an address or a range in CIDR notation. Addresses that only
// wrap an IPv4 one are that one.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, aerr := netip.ParseAddr(s)
		if aerr != nil || a.Zone() != "" {
			return p, fmt.Errorf("found %q, want an address like 192.0.2.7 or a range like 10.0.0.0/8", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if m := p.Masked(); m != p {
		return p, fmt.Errorf("found %s, which has bits set beyond its length: did you mean %s or %s?", s, m, p.Addr())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("found %s, which is neither IPv4 nor IPv6: write IPv4 ranges as 10.0.0.0/8", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

func newTable(prefixes []netip.Prefix) *table {
	t := &table{}
	for _, p := range prefixes {
		s := span{p.Addr(), last(p)}
		if p.Addr().Is4() {
			t.v4 = append(t.v4, s)
		} else {
			t.v6 = append(t.v6, s)
		}
	}
	t.v4, t.v6 = merge(t.v4), merge(t.v6)
	return t
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch free := 8*(i+1) - p.Bits(); {
		case free >= 8:
			b[i] = 0xff
		case free > 0:
			b[i] |= byte(1<<free - 1)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func merge(list []span) []span {
	slices.SortFunc(list, func(a, b span) int { return a.from.Compare(b.from) })
	var out []span
	for _, s := range list {
		if n := len(out); n > 0 {
			after := out[n-1].to.Next()
			if !after.IsValid() || s.from.Compare(after) <= 0 {
				if out[n-1].to.Less(s.to) {
					out[n-1].to = s.to
				}
				continue
			}
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}

// has expects an address without zone that does not wrap another.
func (t *table) has(a netip.Addr) bool {
	list := t.v6
	if a.Is4() {
		list = t.v4
	}
	i, found := slices.BinarySearchFunc(list, a, func(s span, a netip.Addr) int { return cmp.Compare(s.from.Compare(a), 0) })
	return found || i > 0 && !list[i-1].to.Less(a)
}

// maxFile and maxEntries bound a list in a file.
const (
	maxFile    = 32 << 20
	maxEntries = 1_000_000
)

// parseList reads a file: one address or range per line; # begins a comment.
func parseList(name, text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	line := 0
	for one := range strings.Lines(text) {
		line++
		one, _, _ = strings.Cut(one, "#")
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		p, err := parsePrefix(one)
		if err != nil {
			// What is no range at all is not shown: the file may be no list, and who
			// may name it need not be one who may read it. /readyz would tell all.
			if _, not := netip.ParsePrefix(one); not != nil {
				err = errors.New("want an address like 192.0.2.7 or a range like 10.0.0.0/8")
			}
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		if len(out) == maxEntries {
			return nil, fmt.Errorf("%s:%d: more than %d entries", name, line, maxEntries)
		}
		out = append(out, p)
	}
	return out, nil
}
