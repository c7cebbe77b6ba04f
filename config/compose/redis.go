package compose

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

// Redis opens connections of the section redis when a filter asks for one. They
// outlive tables.
type Redis struct {
	Log     *slog.Logger
	Offline bool // check only, connect nothing

	live newest[*store.Redis] // by name
}

// For is what filters of a snapshot ask, filter.Env's Redis.
func (r *Redis) For(lease *store.Lease, s *config.Snapshot) func(name string) (*store.Redis, error) {
	return func(name string) (*store.Redis, error) {
		cfg, err := redisNamed(s.Redis, name)
		if err != nil {
			return nil, err
		}
		print, err := fingerprint(cfg)
		if err != nil {
			return nil, err
		}
		if cfg.TLS != nil {
			print += pemPrint(&config.ServiceTLS{CA: cfg.TLS.CA}) // the certificate is read anew anyway
		}
		conn, err := store.Use(lease, "redis/"+name, print, func() (*store.Redis, error) { return r.open(name, cfg) })
		if err == nil && !r.Offline {
			r.live.used(name, conn)
		}
		return conn, err
	}
}

func redisNamed(all map[string]config.Redis, name string) (config.Redis, error) {
	cfg, ok := all[name]
	switch {
	case len(all) == 0:
		return cfg, fmt.Errorf("there is no section redis: add redis: {%s: {addresses: [host:6379]}}", name)
	case !ok:
		return cfg, fmt.Errorf("redis %q does not exist; there is %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	return cfg, nil
}

func (r *Redis) open(name string, cfg config.Redis) (*store.Redis, error) {
	c, err := redisConfig(name, cfg)
	if err != nil {
		return nil, err
	}
	c.Log, c.Closed = r.Log, r.forget
	conn, err := store.NewRedis(c)
	if err != nil {
		return nil, err
	}
	if r.Offline {
		return conn, nil
	}
	conn.Start()
	return conn, nil
}

func (r *Redis) forget(conn *store.Redis) { r.live.forget(conn.Name(), conn) }

func redisConfig(name string, cfg config.Redis) (store.RedisConfig, error) {
	c := store.RedisConfig{Name: name, Mode: cfg.Mode, Addresses: cfg.Addresses, Master: cfg.Master,
		Username: cfg.Username, Password: cfg.Password, SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword,
		DB: cfg.DB, ConnectTimeout: cfg.ConnectTimeout, Timeout: cfg.Timeout, Prefix: cfg.Prefix}
	if cfg.TLS == nil {
		return c, nil
	}
	var err error
	if c.TLS, err = clientTLS(cfg.TLS); err != nil {
		return c, fmt.Errorf("tls: %w", err)
	}
	if cfg.TLS.Cert != "" {
		// Read anew for each connection: certificates are replaced in place.
		c.TLS.Certificates = nil
		c.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
			return &pair, err
		}
	}
	return c, nil
}

// CheckRedis finds what is wrong with the section redis, also where no filter
// uses it.
func CheckRedis(s *config.Snapshot) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Redis)) {
		c, err := redisConfig(name, s.Redis[name])
		if err == nil {
			_, err = store.NewRedis(c)
		}
		if err != nil {
			key, _, _ := strings.Cut(err.Error(), ":")
			errs = append(errs, fmt.Errorf("%s: redis %s: %w", s.Pos("redis."+name+"."+key), name, err))
		}
	}
	return errs
}

// Status is the state of every connection, by name.
func (r *Redis) Status() []store.RedisStatus {
	out := []store.RedisStatus{}
	for _, c := range r.live.shown() {
		out = append(out, c.Status())
	}
	slices.SortFunc(out, func(a, b store.RedisStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// checks are shown by /readyz and never make it 503: filters go on without
// Redis as their on_store_error says.
func (r *Redis) checks() []admin.Check {
	var out []admin.Check
	for _, s := range r.Status() {
		c := admin.Check{Name: "redis " + s.Name, OK: s.Up, Detail: "answers since " + s.Since.UTC().Format(time.RFC3339)}
		if !s.Up {
			c.Detail = fmt.Sprintf("does not answer for %s: %s", time.Since(s.Since).Round(time.Second), s.Err)
		}
		out = append(out, c)
	}
	return out
}

func (r *Redis) gauges(m *tracing.Metrics) error {
	each := func(f func(tracing.Emit, store.RedisStatus)) func(tracing.Emit) {
		return func(emit tracing.Emit) {
			for _, s := range r.Status() {
				f(emit, s)
			}
		}
	}
	if err := m.RegisterGauge("lintel_redis_up", "1 while a Redis answers.", []string{"name"}, each(func(emit tracing.Emit, s store.RedisStatus) {
		up := 0.0
		if s.Up {
			up = 1
		}
		emit(up, s.Name)
	})); err != nil {
		return err
	}
	for _, c := range []struct {
		name, help string
		labels     []string
		each       func(tracing.Emit, store.RedisStatus)
	}{
		{"lintel_redis_commands_total", "Commands sent to a Redis.", []string{"name"},
			func(emit tracing.Emit, s store.RedisStatus) { emit(float64(s.Commands), s.Name) }},
		{"lintel_redis_command_seconds_total", "Time that commands took, waiting for their turn included.", []string{"name"},
			func(emit tracing.Emit, s store.RedisStatus) { emit(s.Spent.Seconds(), s.Name) }},
		{"lintel_redis_errors_total", "Commands that failed: refused by Redis or the network, too slow, or not sent because it does not answer.", []string{"name", "reason"},
			func(emit tracing.Emit, s store.RedisStatus) {
				emit(float64(s.Errors-s.Slow), s.Name, "error")
				emit(float64(s.Slow), s.Name, "slow")
				emit(float64(s.Refused), s.Name, "down")
			}},
		{"lintel_rate_limit_without_redis_total", "Requests that a rate limit decided without Redis, by on_store_error.", []string{"name", "decided"},
			func(emit tracing.Emit, s store.RedisStatus) {
				for _, how := range []string{"local", "open", "closed"} {
					emit(float64(s.Missed[how]), s.Name, how)
				}
			}},
	} {
		if err := m.RegisterCounter(c.name, c.help, c.labels, each(c.each)); err != nil {
			return err
		}
	}
	return nil
}
