package ask

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Config of a Client. Zero values mean the defaults named here.
type Config struct {
	Timeout     time.Duration // for a whole question and its answer; 1 s
	Connections int           // open at once, per address; 64
	Limit       int64         // bytes of an answer's body that are read; 64 KiB
	CA          []byte        // PEM certificates to trust in place of the system's
}

// Client keeps the connections to whoever is asked. It goes there directly,
// whatever HTTP_PROXY says, follows no redirect and keeps no cookies. It lives in
// the store and survives reloads.
type Client struct {
	transport *http.Transport
	timeout   time.Duration
	limit     int64
}

// Outgoing is a question on its way: what a signer signs.
type Outgoing = http.Request

// Question is what is asked. Its strings must not be views: the transport may
// look at them after Ask has returned.
type Question struct {
	Method string
	URL    string
	Header []exchange.Field
	Body   []byte
	// Sign adds what proves who is asking; it may block. Nil adds nothing.
	Sign func(context.Context, *Outgoing, []byte) error
}

// Answer is what came back.
type Answer struct {
	Status int
	Header []exchange.Field // in no particular order, those of one name in theirs
	Body   []byte
	Cut    bool // the body is longer than Limit; Body is empty then
}

// maxHead bounds an answer's head, in bytes.
const maxHead = 64 << 10

var errTimeout = errors.New("no answer in time")

// New returns a client without connections.
func New(c Config) (*Client, error) {
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.Connections <= 0 {
		c.Connections = 64
	}
	if c.Limit <= 0 {
		c.Limit = 64 << 10
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("ask: no PEM certificate")
		}
	}
	return &Client{timeout: c.Timeout, limit: c.Limit, transport: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: c.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    c.Timeout,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        c.Connections,
		MaxIdleConns:           c.Connections,
		MaxIdleConnsPerHost:    c.Connections,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true, // what is handed on stays as it is
	}}, nil
}

// Close lets go the connections that are not in use; the others close after it.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections() // those that become idle from now on are closed too
	return nil
}

// Ask sends q and reads the answer. What it returns as an error names the address
// and never holds what was sent.
func (c *Client) Ask(ctx context.Context, q *Question) (*Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	a, err := c.ask(ctx, q)
	if err == nil {
		return a, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return nil, fmt.Errorf("ask: %w", err)
}

func (c *Client) ask(ctx context.Context, q *Question) (*Answer, error) {
	var body io.Reader
	if len(q.Body) > 0 {
		body = bytes.NewReader(q.Body)
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return nil, errors.New("the question cannot be put into a request")
	}
	for _, f := range q.Header {
		req.Header.Add(f.Name, f.Value)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "lintel")
	}
	if q.Sign != nil {
		if err := q.Sign(ctx, req, q.Body); err != nil {
			return nil, err
		}
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := &Answer{Status: resp.StatusCode}
	for name, values := range resp.Header {
		for _, v := range values {
			a.Header = append(a.Header, exchange.Field{Name: name, Value: v})
		}
	}
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, c.limit+1)); err != nil {
		return nil, err
	}
	if int64(len(a.Body)) > c.limit {
		a.Body, a.Cut = nil, true
	}
	return a, nil
}

// Get returns the first value of name, or "".
func (a *Answer) Get(name string) string {
	for _, f := range a.Header {
		if exchange.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}
