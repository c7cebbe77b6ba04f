package discovery

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/cluster"
)

// Static is a fixed list of endpoints, the same for every query.
type Static struct {
	name      string
	endpoints []cluster.Endpoint
}

// NewStatic takes endpoints as host:port, with whatever else is known of them; a
// Weight of 0 counts as 1. Host names are left to the dialer.
func NewStatic(endpoints []cluster.Endpoint) (*Static, error) {
	s := &Static{endpoints: tidy(slices.Clone(endpoints))}
	var names []string
	for _, e := range s.endpoints {
		if err := checkAddress(e.Address); err != nil {
			return nil, err
		}
		names = append(names, called(e))
	}
	s.name = "static:" + strings.Join(names, ",")
	return s, nil
}

// Name is "static:" and the list.
func (s *Static) Name() string { return s.name }

// called tells an endpoint from what a later configuration says of its address.
func called(e cluster.Endpoint) string {
	name := fmt.Sprintf("%s*%d", e.Address, max(1, e.Weight))
	if e.Zone != "" || len(e.Tags) > 0 || len(e.Meta) > 0 {
		name += fmt.Sprintf("(%q %q %q)", e.Zone, e.Tags, e.Meta)
	}
	return name
}

// Watch reports the list once.
func (s *Static) Watch(ctx context.Context, _ Query, update func(Update)) error {
	update(Update{Endpoints: s.endpoints})
	<-ctx.Done()
	return ctx.Err()
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("discovery: expected host:port, found %q: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return fmt.Errorf("discovery: expected host:port with a port of 1 to 65535, found %q", address)
	}
	return nil
}
