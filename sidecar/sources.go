package sidecar

import (
	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config/compose"
)

// sources is what the admin API shows of a sidecar.
func (c *Sidecar) sources() admin.Sources {
	return admin.Sources{Ready: c.checks, Config: c.watched.Config, Services: c.watched.Services, Connections: c.watched.Connections,
		Routes: func() any {
			return map[string]any{"inbound": compose.Routes(c.in.Acquire()), "outbound": compose.Routes(c.out.Acquire())}
		},
		Explain: c.explain,
		Caches:  compose.Caches(c.stores), Deny: compose.Deny(c.stores),
		Drain: c.Drain, Leave: c.leave, Reload: c.reloader.Reload, Metrics: c.observers.Metrics.Handler(c.log), Keys: c.keys}
}

// checks are the readiness checks: those of both modes, and the app's health.
func (c *Sidecar) checks() []admin.Check {
	checks := c.watched.Checks()
	if c.probe == nil {
		return checks
	}
	app := admin.Check{Name: "app", Required: true, OK: true}
	if err := c.probe.health(); err != nil {
		app.OK, app.Detail = false, err.Error()
	}
	return append(checks, app)
}

// Ready says why it is not ready, nil when it is.
func (c *Sidecar) Ready() error { return admin.Unready(c.checks()) }

// keys is the JWK set of those who may mint, for the app.
func (c *Sidecar) keys() []byte {
	empty := []byte(`{"keys":[]}`)
	v := c.verifier.Load()
	if v == nil {
		return empty
	}
	set, err := v.JWKS()
	if err != nil {
		c.log.Warn("sidecar: keys of minters are not available", "error", err)
		return empty
	}
	return set
}
