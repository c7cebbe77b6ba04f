package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"lintel.dev/lintel/config"
)

// probe asks the app for its health at an interval and keeps the last answer.
type probe struct {
	app  string
	cfg  config.AppCheck
	last atomic.Pointer[error]
	http *http.Client
}

var errNotAsked = errors.New("the app has not been asked yet")

func newProbe(app string, cfg config.AppCheck) *probe {
	p := &probe{app: app, cfg: cfg, http: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	p.last.Store(&errNotAsked)
	return p
}

// run asks until ctx ends.
func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Interval)
	defer tick.Stop()
	for {
		_ = p.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask asks the app now.
func (p *probe) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	err := p.once(ctx)
	p.last.Store(&err)
	return err
}

// health is the last answer.
func (p *probe) health() error { return *p.last.Load() }

func (p *probe) once(ctx context.Context) error {
	switch {
	case p.cfg.GRPC:
		return p.grpc(ctx)
	case p.cfg.HTTP != "":
		return p.get(ctx)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.app)
	if err != nil {
		return fmt.Errorf("app %s: %w", p.app, err)
	}
	return conn.Close()
}

func (p *probe) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.app+p.cfg.HTTP, nil)
	if err != nil {
		return err
	}
	res, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("app %s: %w", p.app, err)
	}
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("app %s: GET %s answered %d", p.app, p.cfg.HTTP, res.StatusCode)
	}
	return nil
}

func (p *probe) grpc(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:///"+p.app, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("app %s: %w", p.app, err)
	}
	defer func() { _ = conn.Close() }()
	res, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("app %s: %w", p.app, err)
	}
	if res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("app %s: gRPC health is %s", p.app, res.GetStatus())
	}
	return nil
}
