package mtls

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestServiceIDs(t *testing.T) {
	for _, c := range []struct {
		template, td string
		service      Service
		want         string
	}{
		{"", "lintel.local", Service{Name: "web"}, "spiffe://lintel.local/svc/web"},
		{"spiffe://{trust_domain}/ns/{namespace}/sa/{service}", "example.org", Service{Name: "web", Namespace: "shop"}, "spiffe://example.org/ns/shop/sa/web"},
		{"spiffe://{trust_domain}/ns/{namespace}/sa/{service}", "example.org", Service{Name: "web"}, "spiffe://example.org/ns/default/sa/web"},
		{"spiffe://prod.example/{service}-prod", "ignored", Service{Name: "a.b_c-D1"}, "spiffe://prod.example/a.b_c-D1-prod"},
		{"consul", "0f1e.consul", Service{Name: "web", Datacenter: "dc1"}, "spiffe://0f1e.consul/ns/default/dc/dc1/svc/web"},
		{"consul", "0f1e.consul", Service{Name: "web", Namespace: "n", Partition: "p", Datacenter: "dc2"}, "spiffe://0f1e.consul/ap/p/ns/n/dc/dc2/svc/web"},
	} {
		ids := ConsulServiceIDs()
		if c.template != "consul" {
			ids = must[*ServiceIDs](t)(ParseServiceIDs(c.template))
		}
		if got, err := ids.ID(c.td, c.service); err != nil || got != c.want {
			t.Errorf("%s of %+v = %q, %v; expected %q", c.template, c.service, got, err, c.want)
		}
	}
}

func TestBadServiceIDTemplatesAreRefused(t *testing.T) {
	for template, part := range map[string]string{
		"https://{trust_domain}/{service}":                 "begin with spiffe://",
		"spiffe://{trust_domain}/svc/web":                  "{service} is missing",
		"spiffe://{trust_domain}":                          "{service} is missing",
		"spiffe://x{trust_domain}/{service}":               "literal name or {trust_domain} alone",
		"spiffe://{service}/svc/{service}":                 "literal name or {trust_domain} alone",
		"spiffe://Example.org/{service}":                   "Example.org",
		"spiffe:///{service}":                              "trust domain",
		"spiffe://{trust_domain}/{namespace}{service}":     "one placeholder per segment",
		"spiffe://{trust_domain}/{namespace}-{service}":    "one placeholder per segment",
		"spiffe://{trust_domain}/svc/{servce}/{service}":   "unknown placeholder {servce}",
		"spiffe://{trust_domain}/{trust_domain}/{service}": "unknown placeholder {trust_domain}",
		"spiffe://{trust_domain}/svc/{service":             "{service} is missing",
		"spiffe://{trust_domain}/{service}/{namespace":     "closing }",
		"spiffe://{trust_domain}//{service}":               "segment \"\"",
		"spiffe://{trust_domain}/svc/{service}/":           "segment \"\"",
		"spiffe://{trust_domain}/../{service}":             "segment \"..\"",
		"spiffe://{trust_domain}/a b/{service}":            "segment \"a b\"",
		"spiffe://{trust_domain}/svc}/{service}":           "segment \"svc}\"",
	} {
		_, err := ParseServiceIDs(template)
		if err == nil {
			t.Errorf("%s is accepted", template)
			continue
		}
		wantError(t, err, part)
	}
}

func TestServiceNamesCannotInjectPaths(t *testing.T) {
	consul, plain := ConsulServiceIDs(), must[*ServiceIDs](t)(ParseServiceIDs(""))
	for _, name := range []string{"", ".", "..", "web/svc/admin", "../admin", "web%2fadmin", "web?x", "web#x", "we b", "wéb", "{service}", "{namespace}", "a\x00b", strings.Repeat("a", 3000)} {
		if id, err := plain.ID("lintel.local", Service{Name: name}); err == nil {
			t.Errorf("service name %.40q gives %q", name, id)
		}
		for _, s := range []Service{{Name: "web", Datacenter: name}, {Name: name, Datacenter: "dc1"}} {
			if id, err := consul.ID("x.consul", s); err == nil {
				t.Errorf("%+v gives %q", s, id)
			}
		}
	}
	for _, td := range []string{"", "spiffe://x.consul", "x.consul/svc/admin", "X", "spiffe://x.consul/y"} {
		if id, err := plain.ID(td, Service{Name: "web"}); err == nil {
			t.Errorf("trust domain %q gives %q", td, id)
		}
	}
}

func FuzzServiceID(f *testing.F) {
	f.Add("spiffe://{trust_domain}/ns/{namespace}/svc/{service}", "lintel.local", "web", "default")
	f.Add("spiffe://x/{service}-a", "", "..", "{service}")
	f.Fuzz(func(t *testing.T, template, td, service, namespace string) {
		ids, err := ParseServiceIDs(template)
		if err != nil {
			return
		}
		id, err := ids.ID(td, Service{Name: service, Namespace: namespace, Datacenter: "dc1"})
		if err != nil {
			return
		}
		parsed, err := spiffeid.FromString(id)
		if err != nil || parsed.Path() == "" {
			t.Fatalf("%q of %q is not a workload's SPIFFE ID: %v", id, template, err)
		}
		if want := strings.Count(ids.template, "/"); strings.Count(id, "/") != want {
			t.Fatalf("%q has other segments than %q", id, ids.template)
		}
		// No two services meet in one ID.
		other, err := ids.ID(td, Service{Name: service + "x", Namespace: namespace, Datacenter: "dc1"})
		if err == nil && other == id {
			t.Fatalf("services %q and %q are both %q", service, service+"x", id)
		}
	})
}
