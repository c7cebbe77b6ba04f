package examples_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// TestACMEExampleObtainsItsCertificates from a real ACME server.
func TestACMEExampleObtainsItsCertificates(t *testing.T) {
	p := kit.NewPebble(t, 24*time.Hour).Start()
	site := newService(t)
	start(t, "acme.yaml", map[string]string{"LISTEN": p.TLSAddr, "LISTEN_PLAIN": p.HTTPAddr, "DOMAIN": "shop.test", "ACME_EMAIL": "admin@shop.test",
		"ACME_CA": p.Directory, "ACME_CA_ROOT": p.CARoot, "ACME_DIR": t.TempDir(), "SITE_ADDR": site.addr()})
	for _, name := range []string{"shop.test", "www.shop.test"} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Roots(), ServerName: name}, DisableKeepAlives: true}
		client := &http.Client{Transport: transport, Timeout: time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		get := func(url string) (*http.Response, error) {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				return nil, err
			}
			req.Host = name
			res, err := client.Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			return res, err
		}
		kit.Eventually(t, 2*time.Minute, "https://"+name, func() error {
			res, err := get("https://" + p.TLSAddr + "/")
			if err == nil && res.StatusCode != http.StatusOK {
				err = errors.New(res.Status)
			}
			return err
		})
		res, err := get("http://" + p.HTTPAddr + "/a")
		if err != nil || res.StatusCode != http.StatusPermanentRedirect || !strings.HasPrefix(res.Header.Get("Location"), "https://"+name) {
			t.Errorf("plaintext: %v, %v", res, err)
		}
	}
	if site.count() != 2 {
		t.Errorf("the service was asked %d times, expected once for each name", site.count())
	}
}
