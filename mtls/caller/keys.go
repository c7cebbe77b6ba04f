package caller

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// How long keys are believed without asking again, how often unknown keys may
// have them asked for (once a second, or several times in a row: minters begin
// together), and how large a set may be.
const (
	keysFresh = time.Minute
	keysPause = time.Second
	keysBurst = 16
	keysBytes = 1 << 20
)

// keys are those of the workloads that may mint for users.
type keys struct {
	address string // of the set; "" when it cannot be used
	refused error  // why
	domain  string
	client  *http.Client
	now     func() time.Time

	mu    sync.Mutex
	known map[string]key
	spare int       // times it may be asked for at once
	since time.Time // spare was reckoned
	at    time.Time // when last had
}

type key struct {
	alg    string
	public crypto.PublicKey
	until  time.Time
}

func newKeys(admin, domain string) *keys {
	k := &keys{domain: domain, now: time.Now, client: &http.Client{Timeout: 2 * time.Second,
		Transport:     &http.Transport{Proxy: nil, MaxIdleConns: 1, IdleConnTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	u, err := url.Parse(admin)
	switch {
	case domain == "":
		k.refused = fmt.Errorf("no trust domain given")
	case err != nil:
		k.refused = err
	case u.Scheme != "http" || !(u.Hostname() == "localhost" || ipLoopback(u.Hostname())):
		k.refused = fmt.Errorf("%q: expected http:// and a loopback host:port: whoever else answers there would choose the keys", admin)
	default:
		k.address = strings.TrimSuffix(admin, "/") + "/.well-known/jwks.json"
	}
	return k
}

func ipLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// find returns the key that a token names. The algorithm is the key's, whatever
// the token says.
func (k *keys) find(ctx context.Context, kid, alg string) (crypto.PublicKey, error) {
	if k.refused != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, k.refused)
	}
	k.mu.Lock()
	defer k.mu.Unlock() // one asks, the others wait for its answer
	now := k.now()
	found, ok := k.known[kid]
	if stale := now.Sub(k.at) >= keysFresh; (!ok || stale) && k.mayAsk(now) {
		if err := k.fetch(ctx); err != nil && stale {
			return nil, fmt.Errorf("%w: %w", ErrKeys, err)
		}
		found, ok = k.known[kid]
	} else if stale {
		return nil, fmt.Errorf("%w: asked for a moment ago in vain", ErrKeys)
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("no key %.64q may sign for users", kid)
	case found.alg != alg:
		return nil, fmt.Errorf("alg is %s, the key makes %s", alg, found.alg)
	case !now.Before(found.until):
		return nil, fmt.Errorf("the key's certificate has expired")
	}
	return found.public, nil
}

// mayAsk takes one of the times the set may be asked for.
func (k *keys) mayAsk(now time.Time) bool {
	if n := int64(now.Sub(k.since) / keysPause); n > 0 {
		k.spare = int(min(int64(k.spare)+n, keysBurst))
		k.since = now
	}
	if k.spare == 0 {
		return false
	}
	k.spare--
	return true
}

func (k *keys) fetch(ctx context.Context) error {
	// The client who waits may go: the others still want the keys.
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, k.address, nil)
	if err != nil {
		return err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, keysBytes+1))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || len(b) > keysBytes {
		return fmt.Errorf("%s answered %s with %d bytes", k.address, res.Status, len(b))
	}
	var set struct {
		Keys []struct {
			Kid string   `json:"kid"`
			Alg string   `json:"alg"`
			X5C []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return fmt.Errorf("%s: %w", k.address, err)
	}
	known := make(map[string]key, len(set.Keys))
	for _, j := range set.Keys {
		if len(j.X5C) == 0 || j.Kid == "" {
			continue
		}
		der, err := base64.StdEncoding.DecodeString(j.X5C[0])
		if err != nil {
			continue
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || len(cert.URIs) != 1 || !strings.EqualFold(cert.URIs[0].Host, k.domain) {
			continue // another trust domain's: a sidecar of ours would not serve it
		}
		known[j.Kid] = key{j.Alg, cert.PublicKey, cert.NotAfter}
	}
	k.known, k.at = known, k.now()
	return nil
}
