package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
)

// StaticEndpoint is one entry of a static list: a lone host:port, or a map that
// says of the endpoint what Consul says of its own.
type StaticEndpoint struct {
	Address string            `yaml:"address" required:"true" doc:"host:port." example:"10.0.0.1:8080"`
	Weight  int               `yaml:"weight" default:"1" min:"1" max:"65535" doc:"Its share of requests, in proportion to the others' of the list; as Consul's weights.passing."`
	Zone    string            `yaml:"zone" doc:"Where it is, for locality." example:"eu-1a"`
	Tags    []string          `yaml:"tags" listify:"true" doc:"For a split's sides with tags." example:"[v2]"`
	Meta    map[string]string `yaml:"meta" doc:"For a split's sides with meta." example:"{version: v2}"`
}

// ShortField lets an address stand alone.
func (StaticEndpoint) ShortField() string { return "Address" }

// Validate implements Validator.
func (e *StaticEndpoint) Validate(report func(path, msg string)) {
	host, port, err := net.SplitHostPort(e.Address)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
		report("", fmt.Sprintf("expected host:port as 10.0.0.1:8080, with a port of 1 to 65535, found %s", shown(e.Address)))
	}
}

// Has reports whether the endpoint has all of the tags and metadata.
func (e *StaticEndpoint) Has(tags []string, meta map[string]string) bool {
	for _, t := range tags {
		if !slices.Contains(e.Tags, t) {
			return false
		}
	}
	for k, v := range meta {
		if e.Meta[k] != v {
			return false
		}
	}
	return true
}

// like reports whether two entries of the same address say the same.
func (e *StaticEndpoint) like(o *StaticEndpoint) bool {
	return e.Weight == o.Weight && e.Zone == o.Zone && slices.Equal(e.Tags, o.Tags) && maps.Equal(e.Meta, o.Meta)
}

// checkStatic finds an address that two entries of a list say different things of.
func checkStatic(list []StaticEndpoint, report func(path, msg string)) {
	first := make(map[string]int, len(list))
	for i := range list {
		before, again := first[list[i].Address]
		switch {
		case !again:
			first[list[i].Address] = i
		case !list[i].like(&list[before]):
			report(fmt.Sprintf("static[%d]", i), fmt.Sprintf("%s stands at static[%d] already, with another weight, zone, tags or meta: say it once", shown(list[i].Address), before))
		}
	}
}
