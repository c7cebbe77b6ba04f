package consumer

import (
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Headers tells a service about the consumer. Reserved names may be among
// them: here they come from a verified credential.
type Headers struct {
	list []told
	set  *firewall.Set // their names, nil when there are none
}

type told struct {
	name string
	fact fact
	arg  string
}

type fact byte

const (
	byName fact = iota
	byGroups
	byCredential
	byMetadata
	byTag
)

// NewHeaders compiles name to fact: name, groups, credential, metadata.<name>
// or tags.<name>. credentials are the headers where credentials are looked for.
func NewHeaders(m map[string]string, credentials ...string) (Headers, error) {
	var h Headers
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := "headers." + name
		if _, err := firewall.NewSet(name); err != nil || strings.Contains(name, "*") {
			return h, filter.Errorf(at, "%q is no header name", name)
		}
		switch strings.ToLower(name) {
		case "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
			"proxy-connection", "expect", "cookie", "txn-token", "hop-token":
			return h, filter.Errorf(at, "%s cannot tell about a consumer", name)
		}
		for _, other := range names {
			if exchange.EqualFold(other, name) {
				return h, filter.Errorf(at, "%s and %s are one header", other, name)
			}
		}
		t, ok := parseFact(name, m[name])
		if !ok {
			return h, filter.Errorf(at, "%q is none of name, groups, credential, metadata.<name> and tags.<name>", m[name])
		}
		h.list, names = append(h.list, t), append(names, name)
	}
	if names == nil {
		return h, nil
	}
	var err error
	if h.set, err = firewall.NewSet(names...); err != nil {
		return h, err
	}
	for _, c := range credentials {
		if c != "" && h.set.Match(c) {
			return h, filter.Errorf("headers", "%s is where the credential itself is looked for", c)
		}
	}
	return h, nil
}

func parseFact(name, s string) (told, bool) {
	switch s {
	case "name":
		return told{name: name, fact: byName}, true
	case "groups":
		return told{name: name, fact: byGroups}, true
	case "credential":
		return told{name: name, fact: byCredential}, true
	}
	kind, arg, _ := strings.Cut(s, ".")
	switch {
	case arg == "":
	case kind == "metadata":
		return told{name, byMetadata, arg}, true
	case kind == "tags":
		return told{name, byTag, arg}, true
	}
	return told{}, false
}

// Clean takes off a client's own copies.
func (h *Headers) Clean(x *exchange.Exchange) {
	if h.set != nil {
		x.Removed += h.set.CleanRequest(x)
	}
}

// Tell adds what is known of c, which may be nil; credential is the id of the
// one that was shown.
func (h *Headers) Tell(x *exchange.Exchange, c *Consumer, credential string) {
	for i := range h.list {
		t := &h.list[i]
		value := ""
		switch {
		case t.fact == byCredential:
			value = credential
		case c == nil:
		case t.fact == byName:
			value = c.Name
		case t.fact == byGroups:
			value = c.groups
		case t.fact == byMetadata:
			value = c.metadata[t.arg]
		case t.fact == byTag:
			value = c.tags[t.arg]
		}
		if value != "" {
			x.Request.Header.Add(t.name, value)
		}
	}
}

// String names them.
func (h *Headers) String() string {
	if len(h.list) == 0 {
		return "no headers"
	}
	names := make([]string, len(h.list))
	for i, t := range h.list {
		names[i] = t.name
	}
	return "headers " + strings.Join(names, ", ")
}
