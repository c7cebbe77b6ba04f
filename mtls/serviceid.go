package mtls

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The templates of service IDs.
const (
	// DefaultServiceID is what services are called without Consul.
	DefaultServiceID = "spiffe://{trust_domain}/svc/{service}"
	// ConsulServiceID is what Consul's Connect CA calls them.
	ConsulServiceID = "spiffe://{trust_domain}/ns/{namespace}/dc/{datacenter}/svc/{service}"
	// ConsulPartitionServiceID is the same in a partition other than default.
	ConsulPartitionServiceID = "spiffe://{trust_domain}/ap/{partition}/ns/{namespace}/dc/{datacenter}/svc/{service}"
)

// idLimit is the longest SPIFFE ID that must be supported (SPIFFE-ID, section
// 2.3), in bytes.
const idLimit = 2048

// Service names a mesh service.
type Service struct {
	Name       string
	Namespace  string // "default" when empty
	Partition  string // "default" when empty
	Datacenter string
}

// ServiceIDs says which SPIFFE ID a service has. It comes from configuration
// and the roots, never from catalog metadata: whoever may write the catalog
// must not choose whom we trust.
type ServiceIDs struct {
	template string
	consul   bool
}

// ConsulServiceIDs names services as Consul's Connect CA does.
func ConsulServiceIDs() *ServiceIDs { return &ServiceIDs{template: ConsulServiceID, consul: true} }

// ParseServiceIDs reads a template such as [DefaultServiceID], which it is
// when empty. {trust_domain} may only stand as the trust domain; {service},
// {namespace}, {partition} and {datacenter} stand in path segments, one per
// segment, so that no two services can meet in one ID.
func ParseServiceIDs(template string) (*ServiceIDs, error) {
	if template == "" {
		template = DefaultServiceID
	}
	if err := checkTemplate(template); err != nil {
		return nil, fmt.Errorf("mtls: service ID template %q: %w", template, err)
	}
	return &ServiceIDs{template: template}, nil
}

func checkTemplate(template string) error {
	rest, ok := strings.CutPrefix(template, "spiffe://")
	if !ok {
		return errors.New("expected it to begin with spiffe://")
	}
	td, path, _ := strings.Cut(rest, "/")
	if td != "{trust_domain}" {
		if strings.ContainsAny(td, "{}") {
			return fmt.Errorf("trust domain %q: expected a literal name or {trust_domain} alone", td)
		}
		if _, err := spiffeid.TrustDomainFromString(td); err != nil {
			return fmt.Errorf("trust domain %q: %w", td, err)
		}
	}
	if !strings.Contains(path, "{service}") {
		return errors.New("{service} is missing, so every service would have the same ID; give a single service its ID with spiffe_id instead")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if err := checkSegment(segment); err != nil {
			return err
		}
	}
	return nil
}

func checkSegment(segment string) error {
	plain := segment
	if open := strings.IndexByte(segment, '{'); open >= 0 {
		end := strings.IndexByte(segment[open:], '}')
		if end < 0 {
			return fmt.Errorf("segment %q: a closing } is missing", segment)
		}
		switch name := segment[open : open+end+1]; name {
		case "{service}", "{namespace}", "{partition}", "{datacenter}":
		default:
			return fmt.Errorf("segment %q: unknown placeholder %s; known are {service} {namespace} {partition} {datacenter}", segment, name)
		}
		plain = segment[:open] + "x" + segment[open+end+1:]
		if strings.ContainsAny(plain, "{") {
			return fmt.Errorf("segment %q: one placeholder per segment, or two services could share an ID", segment)
		}
	}
	if err := spiffeid.ValidatePathSegment(plain); err != nil {
		return fmt.Errorf("segment %q: %w", segment, err)
	}
	return nil
}

// ID returns the SPIFFE ID of a service; trustDomain is that of the roots. A
// name that could change the path is refused.
func (t *ServiceIDs) ID(trustDomain string, s Service) (string, error) {
	id, err := t.id(trustDomain, s)
	if err != nil {
		return "", fmt.Errorf("mtls: SPIFFE ID of service %q: %w", clip(s.Name), err)
	}
	return id, nil
}

func (t *ServiceIDs) id(trustDomain string, s Service) (string, error) {
	if strings.Contains(t.template, "{trust_domain}") {
		if _, err := spiffeid.TrustDomainFromString(trustDomain); err != nil || strings.Contains(trustDomain, "/") {
			return "", fmt.Errorf("trust domain %q is not a name such as example.org", clip(trustDomain))
		}
	}
	if s.Namespace == "" {
		s.Namespace = "default"
	}
	if s.Partition == "" {
		s.Partition = "default"
	}
	template := t.template
	if t.consul && s.Partition != "default" {
		template = ConsulPartitionServiceID
	}
	pairs := []string{"{trust_domain}", trustDomain}
	for _, p := range [...]struct{ name, value string }{
		{"service", s.Name}, {"namespace", s.Namespace}, {"partition", s.Partition}, {"datacenter", s.Datacenter},
	} {
		placeholder := "{" + p.name + "}"
		if !strings.Contains(template, placeholder) {
			continue
		}
		if err := spiffeid.ValidatePathSegment(p.value); err != nil {
			return "", fmt.Errorf("%s %q cannot stand in %s: %w", p.name, clip(p.value), template, err)
		}
		pairs = append(pairs, placeholder, p.value)
	}
	id := strings.NewReplacer(pairs...).Replace(template)
	if len(id) > idLimit {
		return "", fmt.Errorf("it would be %d bytes long, at most %d are allowed", len(id), idLimit)
	}
	if _, err := parseWorkloadID(id); err != nil {
		return "", err
	}
	return id, nil
}

// CheckID validates an exact SPIFFE ID from configuration.
func CheckID(id string) error {
	if _, err := parseWorkloadID(id); err != nil {
		return fmt.Errorf("mtls: %w", err)
	}
	return nil
}
