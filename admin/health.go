package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const healthTimeout = 5 * time.Second

// Health asks /readyz at addr (host:port, of the API or the probes) and returns
// nil when the process is ready. An address that listens everywhere is asked on
// loopback. It waits for ctx, at most five seconds.
func Health(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("admin: address %q is not host:port: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz?compact", nil)
	if err != nil {
		return fmt.Errorf("admin: address %q: %w", addr, err)
	}
	// No proxy from the environment and no redirect: the answer must be this
	// process's own.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("admin: is Lintel running with its admin API at %s? %w", addr, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var body readiness
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyBytes)).Decode(&body); err != nil || body.Status == "" {
		return fmt.Errorf("admin: %s answered %s, which is not Lintel's readiness", addr, resp.Status)
	}
	var why []string
	for _, c := range body.Checks {
		if c.Required && !c.OK {
			why = append(why, strings.TrimSuffix(c.Name+": "+c.Detail, ": "))
		}
	}
	if len(why) == 0 {
		return errors.New("admin: " + body.Status)
	}
	return fmt.Errorf("admin: %s: %s", body.Status, strings.Join(why, "; "))
}
