package sidecar

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/sidecar/child"
)

// cause is why a sidecar ends.
type cause int

const (
	stopped    cause = iota // by a signal, or asked to drain
	handedOver              // a new process has taken over
	appEnded                // the app it started has ended by itself
)

// startApp starts the app when this sidecar is to.
func (c *Sidecar) startApp() error {
	if c.opts.App == nil {
		return nil
	}
	cmd := *c.opts.App
	cmd.Env = append(c.appEnv(), cmd.Env...)
	app, err := child.Start(cmd)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	c.app = app
	stop := child.Reap(app.PID())
	c.working.Go(func() { <-app.Done(); stop() })
	c.log.Info("sidecar: app started", "pid", app.PID(), "program", cmd.Args[0])
	return nil
}

// appEnv tells the app where its sidecar listens.
func (c *Sidecar) appEnv() []string {
	var env []string
	if addr := c.Addr(outboundListener); addr != "" {
		env = append(env, "LINTEL_OUTBOUND="+addr)
	}
	for i, u := range c.cfg.Upstreams {
		env = append(env, "LINTEL_UPSTREAM_"+variable(u.Service)+"="+c.Addr(upstreamListener(i)))
	}
	if addr := c.AdminAddr(); addr != "" {
		env = append(env, "LINTEL_JWKS_URL=http://"+addr+"/.well-known/jwks.json")
	}
	return env
}

// variable is a service's name as part of a variable's: ORDERS_V2 for orders-v2.
func variable(service string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, service)
}

// shutdown drains in order: out of the catalog, a pause for whoever has not
// noticed, calls to the app finish, the app ends, its own calls finish,
// deregistered.
func (c *Sidecar) shutdown(why cause) error {
	s := c.reloader.Current().Shutdown
	c.admin.Draining()
	if c.opts.Draining != nil {
		c.opts.Draining()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Delay+s.Drain)
	defer cancel()
	switch why {
	case handedOver:
		c.log.Info("sidecar: a new process has taken over, draining", "drain", s.Drain)
		c.admin.Close() // who asks is to be answered by the new one
		c.handOver()
	case appEnded:
		c.log.Info("sidecar: the app has ended", "code", c.app.Code())
	default:
		c.log.Info("sidecar: draining", "delay", s.Delay, "drain", s.Drain)
		if err := c.leave(ctx); err != nil {
			c.log.Warn("sidecar: others may still call this instance", "error", err)
		}
		time.Sleep(s.Delay)
	}
	cut := 0
	if c.app != nil {
		cut = c.closeDoors(ctx, false)
		if c.app.Stop(s.App) {
			c.log.Warn("sidecar: the app was killed: it had not ended in time", "shutdown.app", s.App)
		}
		// Its own calls have ended with it, but for their bookkeeping.
		short, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		ctx = short
	}
	cut += c.release(ctx)
	switch {
	case c.app != nil && c.app.Code() != 0:
		return &child.Exit{Code: c.app.Code()}
	case cut > 0:
		return fmt.Errorf("sidecar: %d exchanges were cut when shutdown.drain (%s) was over", cut, s.Drain)
	}
	c.log.Info("sidecar: stopped; nothing was cut")
	return nil
}

// handOver leaves the place in the catalog to the process that has taken over.
func (c *Sidecar) handOver() {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	if c.registered != nil {
		c.registered.HandOver()
		c.registered = nil
	}
}

// leave takes this instance out of service in the catalog.
func (c *Sidecar) leave(ctx context.Context) error {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	if c.registered == nil {
		return nil
	}
	return c.registered.Drain(ctx)
}

// closeDoors lets the exchanges of listeners finish until ctx ends, and reports
// those cut: of the mesh listener alone, or of all that are still open.
func (c *Sidecar) closeDoors(ctx context.Context, all bool) int {
	return compose.StopServers(ctx, c.log, func(yield func(exchange.Server) bool) {
		for _, d := range c.doors {
			if d.closed || !all && d.name != meshListener {
				continue
			}
			d.closed = true
			if !yield(d.server) {
				return
			}
		}
	})
}
