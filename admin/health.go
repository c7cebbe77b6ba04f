package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const healthTimeout = 5 * time.Second

// Health asks /readyz at addr (host:port, of the API or the probes) and returns
// nil when the process is ready. An address that listens everywhere is asked on
// loopback. It waits for ctx, at most five seconds.
func Health(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	resp, err := question(ctx, addr, http.MethodGet, "/readyz?compact", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var body readiness
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyBytes)).Decode(&body); err != nil || body.Status == "" {
		return fmt.Errorf("admin: %s answered %s, which is not Lintel's readiness", addr, resp.Status)
	}
	if why := Unready(body.Checks); why != nil {
		return fmt.Errorf("admin: %s: %w", body.Status, why)
	}
	return errors.New("admin: " + body.Status)
}

// Leave has the Lintel whose API is at addr leave the catalog and go on serving.
func Leave(ctx context.Context, addr string) error { return act(ctx, addr, "/leave") }

// Drain has the Lintel whose API is at addr drain and end.
func Drain(ctx context.Context, addr string) error { return act(ctx, addr, "/drain") }

// act asks for something to be done and returns why it was not.
func act(ctx context.Context, addr, path string) error {
	resp, err := question(ctx, addr, http.MethodPost, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 {
		return nil
	}
	var p struct {
		Detail string `json:"detail"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyBytes)).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("admin: %s answered %s", addr, resp.Status)
	}
	return fmt.Errorf("admin: %s", p.Detail)
}

// Unready says which required checks fail; nil when none does.
func Unready(checks []Check) error {
	var why []string
	for _, c := range checks {
		if c.Required && !c.OK {
			why = append(why, strings.TrimSuffix(c.Name+": "+c.Detail, ": "))
		}
	}
	if len(why) == 0 {
		return nil
	}
	return errors.New(strings.Join(why, "; "))
}
