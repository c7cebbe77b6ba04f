package discovery

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/cluster"
)

// ErrDenied is wrapped by errors that say that the source refuses an answer
// for want of permission. It never means that a service is empty.
var ErrDenied = errors.New("permission denied")

// Query names the endpoints that are wanted. The zero value of a field means
// the source's own default.
type Query struct {
	Service    string   `json:"service"`
	Tags       []string `json:"tags,omitempty"` // all of them are required
	Datacenter string   `json:"datacenter,omitempty"`
	Namespace  string   `json:"namespace,omitempty"`
	Partition  string   `json:"partition,omitempty"`
	Connect    bool     `json:"connect,omitempty"`  // the service's sidecars instead of the service itself
	Warning    bool     `json:"warning,omitempty"`  // also instances whose checks warn, with their weight for that
	Prepared   bool     `json:"prepared,omitempty"` // Service is the name or ID of a prepared query
}

// String is the query in words, for logs and errors.
func (q Query) String() string {
	var b strings.Builder
	b.WriteString(q.Service)
	for _, part := range [][2]string{{"tags", strings.Join(q.Tags, "+")}, {"datacenter", q.Datacenter}, {"namespace", q.Namespace}, {"partition", q.Partition}} {
		if part[1] != "" {
			b.WriteString(" " + part[0] + "=" + part[1])
		}
	}
	if q.Connect {
		b.WriteString(" (mesh)")
	}
	if q.Prepared {
		b.WriteString(" (prepared query)")
	}
	return b.String()
}

// Update is what a source knows about a query.
type Update struct {
	Endpoints []cluster.Endpoint // sorted by address, no address twice; not to be changed
	Stale     bool               // the source could not be asked: Endpoints are the last known
	At        time.Time          // when the source last confirmed them; zero and not Stale: they cannot go stale
	Err       error              // why it is stale
}

// Source is one place that knows endpoints. Two sources of the same name are
// taken for the same source.
type Source interface {
	// Name tells it from others, also across restarts.
	Name() string
	// Watch calls update, never concurrently, with every answer, with every
	// confirmation of the last one, and with Stale set whenever the source
	// cannot be asked. It retries by itself and returns only ctx's error, or
	// an error at once for a query that it can never serve.
	Watch(ctx context.Context, q Query, update func(Update)) error
}

// tidy sorts endpoints and removes repeated addresses, so that equal sets
// compare equal in whatever order the source lists them.
func tidy(endpoints []cluster.Endpoint) []cluster.Endpoint {
	slices.SortStableFunc(endpoints, func(a, b cluster.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Node, b.Node))
	})
	return slices.CompactFunc(endpoints, func(a, b cluster.Endpoint) bool { return a.Address == b.Address })
}

func sameEndpoints(a, b []cluster.Endpoint) bool {
	return slices.EqualFunc(a, b, func(a, b cluster.Endpoint) bool {
		return a.Address == b.Address && a.Weight == b.Weight && a.Node == b.Node && a.Zone == b.Zone &&
			slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
	})
}
