package consumer

import (
	"fmt"
	"net/http"
	"slices"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Allow is who may pass: all when both are empty.
type Allow struct {
	names, groups []string
}

// NewAllow checks that the consumers exist and that somebody is in the groups;
// a misspelt one would let nobody pass, and nobody would know why.
func NewAllow(d *Directory, names, groups []string) (Allow, error) {
	for i, n := range names {
		if d.Named(n) == nil {
			return Allow{}, filter.Errorf(fmt.Sprintf("consumers[%d]", i), "%q is not under consumers", n)
		}
	}
	for i, g := range groups {
		if !d.hasGroup(g) {
			return Allow{}, filter.Errorf(fmt.Sprintf("groups[%d]", i), "no consumer is in group %q", g)
		}
	}
	return Allow{slices.Clone(names), slices.Clone(groups)}, nil
}

func (d *Directory) hasGroup(g string) bool {
	for _, c := range d.named {
		if slices.Contains(c.Groups, g) {
			return true
		}
	}
	return false
}

// Any reports whether everybody may pass.
func (a *Allow) Any() bool { return len(a.names)+len(a.groups) == 0 }

// Admits reports whether c, which may be nil, may pass.
func (a *Allow) Admits(c *Consumer) bool {
	if a.Any() {
		return true
	}
	if c == nil {
		return false
	}
	if slices.Contains(a.names, c.Name) {
		return true
	}
	for _, g := range c.Groups {
		if slices.Contains(a.groups, g) {
			return true
		}
	}
	return false
}

// Refusal is what others are told: not who may.
func Refusal() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "consumer-refused", Title: "Not permitted",
		Detail: "this consumer is not one that may do this", Proxy: "http_request_denied"}
}

// String says who.
func (a *Allow) String() string {
	switch {
	case a.Any():
		return "every consumer"
	case len(a.groups) == 0:
		return fmt.Sprintf("consumers %v", a.names)
	case len(a.names) == 0:
		return fmt.Sprintf("groups %v", a.groups)
	}
	return fmt.Sprintf("consumers %v and groups %v", a.names, a.groups)
}
