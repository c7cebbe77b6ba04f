package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	defaultWait   = 5 * time.Minute  // of a blocking query, Consul's own default
	defaultPulse  = 10 * time.Second // between signs of life
	shortQuery    = 10 * time.Second // limit of a query that does not block
	answerLimit   = 64 << 20         // bytes of one answer
	maxBackoff    = 30 * time.Second
	firstBackoff  = 250 * time.Millisecond
	queryRate     = 4 // queries per second of one watch whose index never rests
	queryBurst    = 8
	tokenFileSize = 4 << 10
)

// ConsulConfig is how to reach a Consul agent. Empty fields take the standard
// CONSUL_* environment, then Consul's defaults.
type ConsulConfig struct {
	Address    string // host:port, http(s):// or unix:// URL
	Token      string // ACL token
	TokenFile  string // file with the ACL token, read again when it changes
	Datacenter string
	Namespace  string
	Partition  string
	CA         string // PEM file of the agent's CA
	Cert, Key  string // PEM client certificate
	ServerName string // name expected in the agent's certificate

	Wait    time.Duration // of a blocking query; 5 min when 0
	Pulse   time.Duration // between signs of life while queries block; 10 s when 0
	Watches int           // queries that block at a time, a connection each; 160 when 0
	Log     *slog.Logger
}

// Consul is a Consul agent: a Source, a Registrar, and the door to the Connect
// CA and to intentions.
type Consul struct {
	cfg   ConsulConfig
	api   *api.Client
	http  *http.Client
	base  string // scheme://address of the API
	pulse *pulse
	seats *seats
	ahead *seats // of watches that wait for no others
	token tokenFile
}

// NewConsul makes a client; it does not talk to the agent yet.
func NewConsul(cfg ConsulConfig) (*Consul, error) {
	conf := api.DefaultConfig()
	tls := &conf.TLSConfig
	for _, set := range []struct {
		field *string
		value string
	}{{&conf.Address, cfg.Address}, {&conf.Datacenter, cfg.Datacenter}, {&conf.Namespace, cfg.Namespace}, {&conf.Partition, cfg.Partition},
		{&tls.CAFile, cfg.CA}, {&tls.CertFile, cfg.Cert}, {&tls.KeyFile, cfg.Key}, {&tls.Address, cfg.ServerName}} {
		if set.value != "" {
			*set.field = set.value
		}
	}
	if (cfg.CA != "" || cfg.Cert != "") && !strings.Contains(conf.Address, "://") {
		conf.Scheme = "https" // TLS files say that TLS is meant
	}
	file := cfg.TokenFile
	if cfg.Token != "" {
		conf.Token, conf.TokenFile, file = cfg.Token, "", ""
	} else if file == "" {
		file = conf.TokenFile
	}
	if cfg.Watches <= 0 {
		cfg.Watches = defaultWatches
	}
	// A query that was answered asks again, so its connection is kept; and all of
	// them are bounded, or the ones at rest would go past the agent's limit.
	most := cfg.Watches + aheadWatches + spareConns
	conf.Transport.MaxConnsPerHost, conf.Transport.MaxIdleConnsPerHost = most, most
	conf.Transport.MaxIdleConns = max(conf.Transport.MaxIdleConns, most)
	client, err := api.NewHttpClient(conf.Transport, *tls)
	if err != nil {
		return nil, fmt.Errorf("discovery: consul: TLS settings: %w", err)
	}
	if path, ok := strings.CutPrefix(conf.Address, "unix://"); ok {
		conf.Transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	client.Transport = limitBodies{client.Transport}
	conf.HttpClient = client
	c := &Consul{cfg: cfg, http: client, base: conf.Address, token: tokenFile{path: file, fixed: conf.Token}}
	if !strings.Contains(c.base, "://") {
		c.base = conf.Scheme + "://" + c.base
	}
	if file != "" {
		conf.TokenFile = file
	}
	if c.api, err = api.NewClient(conf); err != nil {
		return nil, fmt.Errorf("discovery: consul: %w", err)
	}
	if c.cfg.Wait <= 0 {
		c.cfg.Wait = defaultWait
	}
	if c.cfg.Pulse <= 0 {
		c.cfg.Pulse = defaultPulse
	}
	c.seats, c.ahead = newSeats(cfg.Watches, cfg.Log), newSeats(aheadWatches, slog.New(slog.DiscardHandler)) // max_watches would not help these
	c.seats.follow = c.followChecks
	c.pulse = &pulse{every: c.cfg.Pulse, beat: c.alive}
	return c, nil
}

// Name is "consul:" and the agent's address.
func (c *Consul) Name() string { return "consul:" + c.base }

// Close closes idle connections to the agent.
func (c *Consul) Close() { c.http.CloseIdleConnections() }

// options are those of one call, with the token as it is now.
func (c *Consul) options(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{Token: c.token.now(c.cfg.Log)}).WithContext(ctx)
}

// alive asks for the cluster's leader: without one no answer can be trusted to
// be current.
func (c *Consul) alive(ctx context.Context) error {
	leader, err := c.api.Status().LeaderWithQueryOptions(c.options(ctx))
	if err != nil {
		return fmt.Errorf("discovery: consul shows no sign of life: %w", err)
	}
	if leader == "" {
		return errors.New("discovery: consul has no leader")
	}
	return nil
}

// post is for the two endpoints that consul/api has no call for, or none that
// takes a context and a token. The status is 0 when there was no answer.
func (c *Consul) post(ctx context.Context, path string, in, out any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return 0, err
	}
	base := c.base
	if strings.HasPrefix(base, "unix://") {
		base = "http://localhost" // the transport dials the socket
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token := c.token.now(c.cfg.Log); token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s: expected 200, found %s", path, resp.Status)
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(out)
}

func isStatus(err error, code int) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == code
}

// tokenFile is an ACL token that may be replaced on disk while we run.
type tokenFile struct {
	path  string
	fixed string

	mu       sync.Mutex
	modified time.Time
	value    string
}

// now is the token, "" for the client's own. An unreadable file keeps the last.
func (t *tokenFile) now(log *slog.Logger) string {
	if t.path == "" {
		return t.fixed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && info.ModTime().Equal(t.modified) {
		return t.value
	}
	var text []byte
	if err == nil {
		var f *os.File
		if f, err = os.Open(t.path); err == nil {
			text, err = io.ReadAll(io.LimitReader(f, tokenFileSize))
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		log.Warn("discovery: cannot read the Consul token file; keeping the last token", "error", err)
		return t.value
	}
	t.modified, t.value = info.ModTime(), strings.TrimSpace(string(text))
	return t.value
}

// limitBodies bounds what an answer may take of our memory.
type limitBodies struct{ next http.RoundTripper }

func (l limitBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: answerLimit}
	if before, ok := r.Context().Value(answeredKey{}).(*answered); ok {
		if err := before.compare(resp); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client looks for in its transport.
func (l limitBodies) CloseIdleConnections() {
	if c, ok := l.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("discovery: an answer of consul is longer than %d bytes", answerLimit)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
