package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Registrar puts a service, and the sidecar in front of it, into a catalog.
type Registrar interface {
	// Register returns once the catalog has taken it, and retries until then or
	// until ctx ends. The registration is kept up after ctx ended, until Drain
	// or Deregister.
	Register(ctx context.Context, r Registration) (Registered, error)
}

// Registered is a registration that is kept up: when the catalog forgets it,
// it is made again.
type Registered interface {
	// Drain makes the instance unhealthy and returns when the catalog no longer
	// lists it, or with an error when ctx or the registration's
	// PropagationWait ended first. Finish what is in flight after it.
	Drain(ctx context.Context) error
	// HandOver stops keeping it up and leaves it in place: a new process of the
	// same ID does that now. Nothing else may be called afterwards.
	HandOver()
	// Deregister removes it for good.
	Deregister(ctx context.Context) error
}

// Registration is one instance of a service.
type Registration struct {
	Service   string
	ID        string // unique on the agent; the service's name when empty
	Address   string // host others are told; the agent's when empty
	Port      int    // of the app
	Tags      []string
	Meta      map[string]string
	Weight    int // share of traffic; 0 counts as 1
	Check     Check
	Proxy     *Proxy // the sidecar in front of it; nil for none
	Namespace string
	Partition string

	DeregisterAfter time.Duration // critical for so long: removed by Consul; 1 min (Consul's least) when 0, never when negative
	Renew           time.Duration // between looks whether it is still there; 10 s when 0
	PropagationWait time.Duration // bound of Drain's wait; 10 s when 0
}

// Check is how the app's health is told: the first of HTTP, GRPC, TTL and TCP
// that is set; a TCP connect to the app when none is. The agent does it, so
// addresses are as the agent sees them.
type Check struct {
	HTTP     string                      // URL that answers 2xx
	GRPC     string                      // host:port[/service] of the gRPC health protocol
	TTL      time.Duration               // we tell the agent ourselves, three times within it
	Probe    func(context.Context) error // asked for TTL; nil means healthy for as long as we live
	TCP      string                      // host:port that accepts connections
	Interval time.Duration               // 2 s when 0
	Timeout  time.Duration               // 1 s when 0
}

// Proxy is the sidecar's own registration.
type Proxy struct {
	ID           string // "<instance ID>-sidecar-proxy" when empty
	Address      string // host others are told; the instance's when empty
	Port         int    // of the mesh listener
	CheckAddress string // host:port the agent checks by TCP; 127.0.0.1 or Address, and Port, when empty
	LocalAddress string // where the sidecar reaches the app; 127.0.0.1 when empty
	LocalPort    int    // the instance's Port when 0
}

// complete checks r and fills in its defaults.
func (r Registration) complete() (Registration, error) {
	if r.Service == "" {
		return r, errors.New("discovery: a registration names no service")
	}
	if r.Port <= 0 || r.Port > 65535 {
		return r, fmt.Errorf("discovery: registration of %q: expected the app's port, found %d", r.Service, r.Port)
	}
	set(&r.ID, r.Service)
	set(&r.Renew, 10*time.Second)
	set(&r.PropagationWait, 10*time.Second)
	set(&r.DeregisterAfter, time.Minute)
	set(&r.Weight, 1)
	set(&r.Check.Interval, 2*time.Second)
	set(&r.Check.Timeout, time.Second)
	local := r.Address
	set(&local, "127.0.0.1")
	if r.Check.HTTP == "" && r.Check.GRPC == "" && r.Check.TTL == 0 {
		set(&r.Check.TCP, net.JoinHostPort(local, strconv.Itoa(r.Port)))
	}
	if r.Proxy == nil {
		return r, nil
	}
	p := *r.Proxy
	if p.Port <= 0 || p.Port > 65535 {
		return r, fmt.Errorf("discovery: registration of %q: expected the mesh port, found %d", r.Service, p.Port)
	}
	set(&p.ID, r.ID+"-sidecar-proxy")
	set(&p.Address, r.Address)
	local = p.Address
	set(&local, "127.0.0.1")
	set(&p.CheckAddress, net.JoinHostPort(local, strconv.Itoa(p.Port)))
	set(&p.LocalAddress, "127.0.0.1")
	set(&p.LocalPort, r.Port)
	r.Proxy = &p
	return r, nil
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
