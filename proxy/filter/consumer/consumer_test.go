package consumer

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func hash(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func TestAKeyIsFoundByItsWholeHash(t *testing.T) {
	near := hash("one")
	near[31] ^= 1 // the same first bytes, another key
	d := newDirectory([]filter.Consumer{
		{Name: "a", Groups: []string{"g"}, Keys: []filter.ConsumerKey{{Hash: hash("one"), ID: "1"}, {Hash: hash("two"), ID: "2"}}},
		{Name: "b", Keys: []filter.ConsumerKey{{Hash: near, ID: "3"}}},
	})
	for key, want := range map[[32]byte]string{hash("one"): "a1", hash("two"): "a2", near: "b3", hash("three"): "", {}: ""} {
		got := ""
		if k := d.Keyed(&key); k != nil {
			got = k.Consumer.Name + k.ID
			if k.Identity.Subject != k.Consumer.Name || k.Identity.Issuer != Issuer {
				t.Errorf("%s: identity %+v", got, k.Identity)
			}
		}
		if got != want {
			t.Errorf("%x: %q, want %q", key[:4], got, want)
		}
	}
}

func TestFiltersOfATableShareOneDirectory(t *testing.T) {
	lease := store.NewSet().Lease()
	defer lease.Release()
	list := []filter.Consumer{{Name: "a"}}
	one, err := Known(&filter.Env{Store: lease, Consumers: list})
	two, _ := Known(&filter.Env{Store: lease, Consumers: list})
	other, _ := Known(&filter.Env{Store: lease, Consumers: slices.Clone(list)})
	if err != nil || one != two || one == other {
		t.Error("not shared, or shared with another table's", err)
	}
}

// A table's directory lives as long as its exchanges: another table's consumers
// must never be found in it because their list has come to stand in its place.
func TestNoTableFindsAnothersConsumers(t *testing.T) {
	set := store.NewSet()
	for i := range 300 {
		lease := set.Lease()
		defer lease.Release()
		name := strconv.Itoa(i)
		d, err := Known(&filter.Env{Store: lease, Consumers: []filter.Consumer{{Name: name}}})
		if err != nil || d.Named(name) == nil {
			t.Fatalf("%s is not in its own directory: %v", name, err)
		}
		if i%10 == 0 {
			runtime.GC()
		}
	}
}

func certificate(uris []string, dns, emails []string, subject, issuer, raw string) *Shown {
	c := &x509.Certificate{DNSNames: dns, EmailAddresses: emails}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return &Shown{Certificate: c, Fingerprint: hash(raw), SubjectDN: subject, IssuerDN: issuer}
}

func TestWhoseACertificateIs(t *testing.T) {
	own := func(name string, m ...filter.ConsumerCertificate) filter.Consumer {
		return filter.Consumer{Name: name, Certificates: m}
	}
	d := newDirectory([]filter.Consumer{
		own("pinned", filter.ConsumerCertificate{Pinned: true, Fingerprint: hash("cert")}),
		own("uri", filter.ConsumerCertificate{URI: "spiffe://p.example/billing"}, filter.ConsumerCertificate{URI: "https://p.example/id"}),
		own("mail", filter.ConsumerCertificate{Email: "a@p.example"}),
		own("dns", filter.ConsumerCertificate{DNS: "client.p.example"}),
		own("subject", filter.ConsumerCertificate{Subject: "CN=client"}),
		own("strict", filter.ConsumerCertificate{Subject: "CN=strict", Issuer: "CN=ca"}),
		own("ca", filter.ConsumerCertificate{Issuer: "CN=partner ca"}),
		own("twin1", filter.ConsumerCertificate{DNS: "one.example"}),
		own("twin2", filter.ConsumerCertificate{DNS: "two.example"}),
	})
	for _, c := range []struct {
		name string
		cert *Shown
		want string
	}{
		{"nobody", certificate(nil, nil, nil, "CN=x", "CN=y", "x"), ""},
		{"by fingerprint, before all else", certificate([]string{"https://p.example/id"}, nil, nil, "CN=client", "CN=partner ca", "cert"), "pinned"},
		{"by SPIFFE ID", certificate([]string{"spiffe://p.example/billing"}, nil, nil, "", "", "x"), "uri"},
		{"SPIFFE ID of another path", certificate([]string{"spiffe://p.example/billing/x"}, nil, nil, "", "", "x"), ""},
		{"SPIFFE ID beside another URI", certificate([]string{"spiffe://p.example/billing", "https://x.example"}, nil, nil, "", "", "x"), ""},
		{"by a URI of several", certificate([]string{"https://x.example", "https://p.example/id"}, nil, nil, "", "", "x"), "uri"},
		{"by email", certificate(nil, []string{"client.p.example"}, []string{"a@p.example"}, "", "", "x"), "mail"},
		{"by DNS name, case aside", certificate(nil, []string{"Client.P.example"}, nil, "", "", "x"), "dns"},
		{"a wildcard is a name of its own", certificate(nil, []string{"*.p.example"}, nil, "", "", "x"), ""},
		{"by subject", certificate(nil, nil, nil, "CN=client", "CN=partner ca", "x"), "subject"},
		{"subject as a part", certificate(nil, nil, nil, "CN=client,O=evil", "CN=y", "x"), ""},
		{"subject and issuer", certificate(nil, nil, nil, "CN=strict", "CN=ca", "x"), "strict"},
		{"subject of another issuer", certificate(nil, nil, nil, "CN=strict", "CN=evil", "x"), ""},
		{"by issuer alone", certificate(nil, nil, nil, "CN=whoever", "CN=partner ca", "x"), "ca"},
		{"equally two consumers'", certificate(nil, []string{"one.example", "two.example"}, nil, "", "", "x"), "error"},
		{"two names of one", certificate(nil, []string{"one.example", "ONE.example"}, nil, "", "", "x"), "twin1"},
	} {
		got, err := d.Certified(c.cert)
		switch {
		case err != nil && c.want == "error" && errors.Is(err, ErrAmbiguous):
		case err != nil, got == nil && c.want != "", got != nil && got.Name != c.want:
			t.Errorf("%s: %v %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestWhoMayPass(t *testing.T) {
	d := newDirectory([]filter.Consumer{{Name: "a", Groups: []string{"gold"}}, {Name: "b", Groups: []string{"tin"}}, {Name: "c"}})
	for _, c := range []struct {
		names, groups []string
		want          string
	}{
		{nil, nil, "a b c nobody"}, {[]string{"a"}, nil, "a"}, {nil, []string{"tin"}, "b"}, {[]string{"c"}, []string{"gold", "tin"}, "a b c"},
	} {
		allow, err := NewAllow(d, c.names, c.groups)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range []string{"a", "b", "c", "nobody"} {
			if allow.Admits(d.Named(n)) {
				got = append(got, n)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", allow.String(), got, c.want)
		}
	}
	for path, err := range map[string]error{
		"consumers[1]": second(NewAllow(d, []string{"a", "z"}, nil)), "groups[0]": second(NewAllow(d, nil, []string{"silver"})),
	} {
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != path {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func second(_ Allow, err error) error { return err }

func TestServicesAreToldWhatIsKnownAndNothingAClientSays(t *testing.T) {
	d := newDirectory([]filter.Consumer{{Name: "a", Groups: []string{"x", "y,admin", "z"},
		Metadata: map[string]string{"plan": " gold\r\nX-Admin: 1", "empty": ""}, Tags: map[string]string{"team": "red"}}})
	h, err := NewHeaders(map[string]string{"X-Consumer-Name": "name", "X-Consumer-Groups": "groups", "X-Key": "credential",
		"X-Plan": "metadata.plan", "X-Team": "tags.team", "X-None": "metadata.none", "X-Empty": "metadata.empty"}, "X-API-Key")
	if err != nil {
		t.Fatal(err)
	}
	tell := func(c *Consumer) []string {
		x := &exchange.Exchange{}
		for _, n := range []string{"X-Consumer-Name", "x_plan", "X-TEAM", "X-None", "X-Other"} {
			x.Request.Header.Add(n, "spoofed")
		}
		h.Clean(x)
		h.Tell(x, c, "2026")
		if x.Removed != 4 {
			t.Errorf("%d removed, want 4", x.Removed)
		}
		var out []string
		for n, v := range x.Request.Header.All() {
			out = append(out, n+"="+v)
		}
		return out
	}
	want := []string{"X-Other=spoofed", "X-Consumer-Groups=x,z", "X-Consumer-Name=a", "X-Key=2026", "X-Plan=goldX-Admin: 1", "X-Team=red"}
	if got := tell(d.Named("a")); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := tell(nil); !slices.Equal(got, []string{"X-Other=spoofed", "X-Key=2026"}) {
		t.Errorf("of nobody: %q", got)
	}
	for path, m := range map[string]map[string]string{
		"headers.Bad Name":  {"Bad Name": "name"},
		"headers.Txn-Token": {"Txn-Token": "name"},
		"headers.Cookie":    {"Cookie": "name"},
		"headers.X":         {"X": "nothing"},
		"headers.Y":         {"Y": "metadata."},
		"headers.a-b":       {"A-B": "name", "a-b": "groups"},
		"headers":           {"x_api_key": "name"},
	} {
		var ce *filter.ConfigError
		if _, err := NewHeaders(m, "X-API-Key"); !errors.As(err, &ce) || ce.Path != path {
			t.Errorf("%v: %v, want an error at %s", m, err, path)
		}
	}
}
