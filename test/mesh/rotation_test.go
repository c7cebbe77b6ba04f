package mesh_test

import (
	"crypto/tls"
	"net"
	"os"
	"testing"
	"time"
)

// Error budget: no request fails while every certificate of the mesh is renewed
// every two seconds. LINTEL_SOAK=10m makes it that long.
func TestRotationEveryTwoSecondsFailsNoRequest(t *testing.T) {
	t.Parallel()
	long := 10 * time.Second
	if soak := os.Getenv("LINTEL_SOAK"); soak != "" {
		d, err := time.ParseDuration(soak)
		if err != nil {
			t.Fatalf("LINTEL_SOAK: %v", err)
		}
		long = d
	}
	w := startWeb(t, plan{ttl: "4s", endpoints: 3})
	l := w.load()
	serials := map[string]bool{}
	for began := time.Now(); time.Since(began) < long; l.During(200 * time.Millisecond) {
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} // only looked at
		conn, err := d.Dial("tcp", w.sides[0].mesh)
		if err != nil {
			t.Errorf("handshake: %v", err)
			continue
		}
		leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		serials[leaf.SerialNumber.String()] = true
		_ = conn.Close()
	}
	t.Logf("%d certificates in %s", len(serials), long)
	if least := int(long / (4 * time.Second)); len(serials) < least {
		t.Errorf("%d certificates in %s, want at least %d", len(serials), long, least)
	}
	l.Clean(500)
}
