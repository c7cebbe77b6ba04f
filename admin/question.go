package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// question puts a question to the Lintel whose API or probes are at addr (host:port;
// one that listens everywhere is asked on loopback). There is no proxy from the
// environment and no redirect: the answer must be that process's own, and the
// question may hold a token. The caller's ctx bounds reading the answer as well.
func question(ctx context.Context, addr, method, path string, body []byte) (*http.Response, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("admin: address %q is not host:port: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(host, port)+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("admin: address %q: %w", addr, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error // which repeats the URL, and what it holds
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("admin: is Lintel running with its admin API at %s? %w", addr, err)
	}
	return resp, nil
}
