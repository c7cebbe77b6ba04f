package listen

import (
	"crypto/tls"
	"strings"
	"testing"
)

func load(t *testing.T, p Pair) *tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestChallengesAreShownToWhoAsksForNothingElse(t *testing.T) {
	dir := t.TempDir()
	site, friend := issue(t, dir, "site", later, "a.example"), issue(t, dir, "friend", later, "f")
	pending := load(t, issue(t, dir, "challenge", later, "challenge.example"))
	find := func(name string) *tls.Certificate {
		if name == "a.example" {
			return pending
		}
		return nil
	}
	for _, auth := range []Options{{}, {StrictSNI: true, ClientAuth: "require", ClientCA: friend.Cert}} {
		auth.Challenge = find
		_, conf := config(t, auth, site)
		conf.NextProtos = []string{"h2", "http/1.1"} // as an engine would
		client := func(name string, protos ...string) *tls.Config {
			return &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: protos, Certificates: []tls.Certificate{*load(t, friend)}}
		}
		stranger := client("a.example", "acme-tls/1")
		stranger.Certificates = nil // a CA's validation has none
		if names, err := shake(t, conf, stranger); err != nil || names[0] != "challenge.example" {
			t.Errorf("%s: the challenge's certificate: %v, %v", auth.ClientAuth, names, err)
		}
		if _, err := shake(t, conf, client("b.example", "acme-tls/1")); err == nil || !strings.Contains(err.Error(), "no ACME challenge") {
			t.Errorf("%s: nothing is pending: %v", auth.ClientAuth, err)
		}
		if names, err := shake(t, conf, client("a.example", "http/1.1", "acme-tls/1")); err != nil || names[0] != "a.example" {
			t.Errorf("%s: who offers something else too: %v, %v", auth.ClientAuth, names, err)
		}
		stranger.NextProtos = []string{"http/1.1"}
		if _, err := shake(t, conf, stranger); (err == nil) != (auth.ClientAuth == "") {
			t.Errorf("%s: without a certificate: %v", auth.ClientAuth, err)
		}
	}
}

func TestManagedCertificatesStandBesideFiles(t *testing.T) {
	dir := t.TempDir()
	site := issue(t, dir, "site", later, "a.example")
	managed := issue(t, dir, "managed", later, "b.example")
	var missing []string
	certs, conf := config(t, Options{Missing: func(name string) { missing = append(missing, name) }})
	shown := func(name string) string {
		names, err := shake(t, conf, &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			return err.Error()
		}
		return names[0]
	}
	if got := shown("b.example"); !strings.Contains(got, "no certificate yet") || len(missing) != 1 || missing[0] != "b.example" || !certs.Expiry().IsZero() {
		t.Errorf("without any certificate: %s, told of %v, expiry %s", got, missing, certs.Expiry())
	}
	certs.Manage([]*tls.Certificate{load(t, managed)})
	if got := shown("b.example"); got != "b.example" {
		t.Errorf("managed: %s", got)
	}
	certs, conf = config(t, Options{}, site)
	certs.Manage([]*tls.Certificate{load(t, managed)})
	issue(t, dir, "site", later, "c.example")
	if err := certs.Reload(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"b.example": "b.example", "c.example": "c.example", "other": "c.example"} {
		if got := shown(name); got != want {
			t.Errorf("%s is shown %s, want %s", name, got, want)
		}
	}
	// Client CAs are read after the managed certificates have come.
	if _, err := TLSConfig(certs, Options{ClientAuth: "request", ClientCA: site.Cert}); err != nil {
		t.Fatal(err)
	}
	if got := shown("b.example"); got != "b.example" {
		t.Errorf("with client CAs the managed certificate is gone: %s", got)
	}
	certs.Manage(nil)
	if got := shown("b.example"); got != "c.example" {
		t.Errorf("a managed certificate that is gone: %s", got)
	}
}
