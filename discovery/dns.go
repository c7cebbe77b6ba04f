package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/cluster"
)

const (
	defaultDNSEvery = 10 * time.Second
	dnsTimeout      = 5 * time.Second
)

// Resolver is what DNS asks of net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// DNSConfig says what is resolved.
type DNSConfig struct {
	Target   string        // host:port for A and AAAA records, a name without a port for SRV
	Every    time.Duration // between lookups; 10 s when 0 (resolvers do not tell us the TTL)
	Resolver Resolver      // net.DefaultResolver when nil
	Log      *slog.Logger
}

// DNS resolves a name again and again. A failed lookup, NXDOMAIN included,
// keeps the last good answer: it says more about DNS than about the service.
type DNS struct {
	cfg        DNSConfig
	host, port string // port is empty for SRV
}

// NewDNS checks the target; it does not look it up yet.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	d := &DNS{cfg: cfg, host: cfg.Target}
	if strings.Contains(cfg.Target, ":") {
		if err := checkAddress(cfg.Target); err != nil {
			return nil, err
		}
		d.host, d.port, _ = net.SplitHostPort(cfg.Target) // checked above
	}
	if d.host == "" {
		return nil, errors.New("discovery: dns: expected host:port or a SRV name, found nothing")
	}
	if d.cfg.Every <= 0 {
		d.cfg.Every = defaultDNSEvery
	}
	if d.cfg.Resolver == nil {
		d.cfg.Resolver = net.DefaultResolver
	}
	return d, nil
}

// Name is "dns:" and the target.
func (d *DNS) Name() string { return "dns:" + d.cfg.Target }

// Watch resolves the target by interval; the query only names the service.
func (d *DNS) Watch(ctx context.Context, _ Query, update func(Update)) error {
	var last Update
	for {
		endpoints, err := d.resolve(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			last = Update{Endpoints: tidy(endpoints), At: time.Now()}
		} else {
			if !last.Stale {
				d.cfg.Log.Warn("discovery: a DNS lookup failed; keeping what was last known", "target", d.cfg.Target, "error", err)
			}
			last.Stale, last.Err = true, err
		}
		update(last)
		if !sleep(ctx, d.cfg.Every) {
			return ctx.Err()
		}
	}
}

func (d *DNS) resolve(ctx context.Context) ([]cluster.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	if d.port != "" {
		return d.addresses(ctx, d.host, d.port, 1)
	}
	_, records, err := d.cfg.Resolver.LookupSRV(ctx, "", "", d.host)
	if len(records) == 0 {
		return nil, fmt.Errorf("discovery: dns: expected SRV records at %s, found none: %v", d.host, err)
	}
	best := records[0].Priority
	for _, r := range records {
		best = min(best, r.Priority)
	}
	var endpoints []cluster.Endpoint
	for _, r := range records {
		if r.Priority != best { // RFC 2782: only the lowest number, while it is there
			continue
		}
		found, err := d.addresses(ctx, r.Target, strconv.Itoa(int(r.Port)), max(1, int(r.Weight)))
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound {
			d.cfg.Log.Warn("discovery: a SRV record points to a name that does not exist; ignored", "srv", d.host, "target", r.Target)
			continue
		}
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, found...)
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("discovery: dns: no target of the SRV records at %s has an address", d.host)
	}
	return endpoints, nil
}

func (d *DNS) addresses(ctx context.Context, host, port string, weight int) ([]cluster.Endpoint, error) {
	ips, err := d.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("discovery: dns: %w", err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("discovery: dns: expected addresses of %s, found none", host)
	}
	var endpoints []cluster.Endpoint
	for _, ip := range ips {
		endpoints = append(endpoints, cluster.Endpoint{Address: net.JoinHostPort(ip.Unmap().String(), port), Weight: weight})
	}
	return endpoints, nil
}
