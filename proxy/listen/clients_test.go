package listen

import (
	"crypto/tls"
	"os"
	"testing"
)

// conn makes a handshake and says whether the session was resumed.
func conn(t *testing.T, server, client *tls.Config) (resumed bool, err error) {
	t.Helper()
	var got tls.ConnectionState
	watched := client.Clone()
	watched.VerifyConnection = func(s tls.ConnectionState) error { got = s; return nil }
	_, err = shake(t, server, watched)
	return got.DidResume, err
}

func TestClientCAsAreReloadedLiveAndNothingIsResumedUnderOldOnes(t *testing.T) {
	dir := t.TempDir()
	site, friend, other := issue(t, dir, "site", later, "a.example"), issue(t, dir, "friend", later, "f"), issue(t, dir, "other", later, "o")
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ca := dir + "/clients.pem"
	write(t, ca, read(friend.Cert))
	client := func(p Pair) *tls.Config {
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", ClientSessionCache: tls.NewLRUClientSessionCache(4),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		write(t, ca, read(friend.Cert))
		certs, conf := config(t, Options{ClientAuth: RequireClientCert, ClientCA: ca}, site)
		one, two := client(friend), client(other)
		one.MaxVersion, two.MaxVersion = version, version
		step := func(what string, c *tls.Config, wantResumed, wantOK bool) {
			t.Helper()
			resumed, err := conn(t, conf, c)
			if resumed != wantResumed || (err == nil) != wantOK {
				t.Errorf("TLS %x, %s: resumed %v, %v; want resumed %v, passing %v", version, what, resumed, err, wantResumed, wantOK)
			}
		}
		step("the CA's", one, false, true)
		step("the CA's, again", one, true, true)
		step("another's", two, false, false)
		write(t, ca, append(read(friend.Cert), read(other.Cert)...))
		if err := certs.Reload(); err != nil {
			t.Fatal(err)
		}
		step("another's, now trusted", two, false, true)
		step("the CA's, after a change", one, false, true)
		write(t, ca, read(other.Cert))
		if err := certs.Reload(); err != nil {
			t.Fatal(err)
		}
		step("no longer trusted, with a session", one, false, false)
		step("still trusted", two, false, true)
		step("still trusted, again", two, true, true)
		write(t, ca, []byte("half a certifi"))
		if err := certs.Reload(); err == nil {
			t.Error("a broken file is no error")
		}
		step("after a file that cannot be read", two, true, true)
	}
}
