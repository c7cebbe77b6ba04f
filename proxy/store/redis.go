package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// RedisConfig says how to reach a Redis.
type RedisConfig struct {
	Name      string   // in logs and metrics
	Mode      string   // "single", "sentinel" or "cluster"
	Addresses []string // host:port: the server, the Sentinels, or some nodes of the cluster
	Master    string   // Sentinel's name for the master

	Username, Password                 string
	SentinelUsername, SentinelPassword string

	TLS            *tls.Config // nil: plaintext
	DB             int         // single and sentinel only
	ConnectTimeout time.Duration
	Timeout        time.Duration // of one command, waiting for its turn included
	Prefix         string        // of every key
	Log            *slog.Logger
	Closed         func(*Redis) // told when it is closed; may be nil
}

// What a command can fail with, besides what Redis itself says.
var (
	ErrRedisDown  = errors.New("store: redis is not answering")
	ErrRedisSlow  = errors.New("store: redis took too long")
	errRedisEnded = errors.New("store: redis: closed")
)

// Redis is the one door to a Redis: Get, Set, Delete and Run, each bounded by
// Timeout. They block, so a filter calls them in Exchange.Await. When a
// connection breaks in the middle, a command is sent once more, so Redis may do
// it twice.
//
// It connects in the background and as often as need be. While it knows that
// Redis does not answer, commands fail at once with ErrRedisDown, so that an
// outage costs nobody time; a background probe finds out when that is over.
type Redis struct {
	cfg    RedisConfig
	option rueidis.ClientOption
	client atomic.Pointer[rueidis.Client]
	up     atomic.Bool
	failed atomic.Int32  // commands in a row that got no answer
	turns  chan struct{} // commands in progress, those given up on included
	look   chan struct{} // wakes the probe
	ctx    context.Context
	end    context.CancelFunc
	start  sync.Once
	work   sync.WaitGroup

	commands, errs, timeouts, refused, spent atomic.Int64

	mu    sync.Mutex
	err   error // nil while it answers
	since time.Time
	told  bool // the log knows that it is down

	missed   map[string]int64
	missTold time.Time
}

const (
	// turnsAtOnce keeps commands away from a full pipeline, where the client
	// library waits without regard to deadlines (redis/rueidis issue 858).
	turnsAtOnce = 256
	// failedInARow without an answer mean that Redis is down.
	failedInARow = 3
	probeEvery   = time.Second
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// NewRedis checks a configuration. Nothing is connected before Start.
func NewRedis(c RedisConfig) (*Redis, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 50 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Redis{cfg: c, turns: make(chan struct{}, turnsAtOnce), look: make(chan struct{}, 1), since: time.Now(),
		err: errors.New("not connected yet")}
	r.ctx, r.end = context.WithCancel(context.Background())
	r.option = rueidis.ClientOption{
		InitAddress: c.Addresses, Username: c.Username, Password: c.Password, SelectDB: c.DB, TLSConfig: c.TLS,
		Dialer: net.Dialer{Timeout: c.ConnectTimeout, KeepAlive: time.Second}, ConnWriteTimeout: c.ConnectTimeout,
		DisableCache: true, DisableRetry: true, ForceSingleClient: c.Mode == "single", ClientName: "lintel",
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		// One connection: of several, all but the one that the probe mends
		// would still be dead after an outage.
		PipelineMultiplex: -1,
	}
	if c.Mode == "cluster" {
		r.option.PipelineMultiplex = 0 // one per node
	}
	if c.Mode == "sentinel" {
		r.option.Sentinel = rueidis.SentinelOption{MasterSet: c.Master, TLSConfig: c.TLS, ClientName: "lintel",
			Dialer: r.option.Dialer, Username: c.SentinelUsername, Password: c.SentinelPassword}
	}
	return r, nil
}

func (c *RedisConfig) check() error {
	if len(c.Addresses) == 0 {
		return errors.New("addresses: found none, want host:port")
	}
	for _, a := range c.Addresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return fmt.Errorf("addresses: found %q, want host:port", a)
		}
	}
	switch {
	case c.Mode != "single" && c.Mode != "sentinel" && c.Mode != "cluster":
		return fmt.Errorf("mode: found %q, want single, sentinel or cluster", c.Mode)
	case c.Mode == "single" && len(c.Addresses) > 1:
		return fmt.Errorf("addresses: found %d, want one, or mode: sentinel or cluster", len(c.Addresses))
	case c.Mode == "sentinel" && c.Master == "":
		return errors.New("master: missing, want the name that the Sentinels know the master by")
	case c.Mode != "sentinel" && c.Master != "":
		return errors.New("master: only Sentinels know masters by name: say mode: sentinel")
	case c.Mode == "cluster" && c.DB != 0:
		return fmt.Errorf("db: found %d, but a cluster has database 0 only", c.DB)
	}
	return nil
}

// Start connects in the background, once.
func (r *Redis) Start() { r.start.Do(func() { r.work.Go(r.watch) }) }

// Close ends it without waiting for anything.
func (r *Redis) Close() error {
	r.end()
	if r.cfg.Closed != nil {
		r.cfg.Closed(r)
	}
	return nil
}

// Timeout is what a command may take.
func (r *Redis) Timeout() time.Duration { return r.cfg.Timeout }

// Name is its name in the configuration.
func (r *Redis) Name() string { return r.cfg.Name }

// Get returns the value of key.
func (r *Redis) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	res, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Get().Key(r.cfg.Prefix+key).Build())
	})
	if rueidis.IsRedisNil(err) {
		return nil, false, nil
	}
	if err == nil {
		value, err = res.AsBytes()
	}
	return value, err == nil, err
}

// Set keeps value under key for ttl, which must be at least a millisecond.
func (r *Redis) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Set().Key(r.cfg.Prefix+key).Value(rueidis.BinaryString(value)).Px(ttl).Build())
	})
	return err
}

// Delete removes key.
func (r *Redis) Delete(ctx context.Context, key string) error {
	_, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Del().Key(r.cfg.Prefix+key).Build())
	})
	return err
}

// Script is a Lua script, sent by its hash and loaded where a server does not
// know it.
type Script struct{ lua *rueidis.Lua }

// NewScript makes a Script. It must use only KEYS, so that a cluster finds them.
func NewScript(text string) *Script { return &Script{rueidis.NewLuaScript(text)} }

// Run runs a script on one key and returns the whole numbers it answers.
func (r *Redis) Run(ctx context.Context, s *Script, key string, args ...string) ([]int64, error) {
	res, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return s.lua.Exec(ctx, c, []string{r.cfg.Prefix + key}, args)
	})
	if err != nil {
		return nil, err
	}
	return res.AsIntSlice()
}

// do runs one command, bounded by Timeout.
func (r *Redis) do(ctx context.Context, command func(context.Context, rueidis.Client) rueidis.RedisResult) (rueidis.RedisResult, error) {
	if !r.up.Load() {
		r.refused.Add(1)
		return rueidis.RedisResult{}, ErrRedisDown
	}
	began := time.Now()
	c := *r.client.Load()
	bounded, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	res, err := r.try(bounded, c, command)
	if _, said := rueidis.IsRedisErr(err); err != nil && !said && !late(err) && ctx.Err() == nil {
		res, err = r.try(bounded, c, command) // the connection had been dead for a while, perhaps
	}
	r.commands.Add(1)
	r.spent.Add(int64(time.Since(began)))
	_, said := rueidis.IsRedisErr(err)
	switch {
	case err == nil, said:
		r.failed.Store(0)
		if said && !rueidis.IsRedisNil(err) {
			r.errs.Add(1)
		}
	case ctx.Err() != nil: // the caller's own
	default:
		if late(err) {
			err = ErrRedisSlow
			r.timeouts.Add(1)
		}
		r.errs.Add(1)
		if r.failed.Add(1) >= failedInARow {
			r.down(err)
		}
	}
	return res, err
}

func late(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// try runs a command until ctx ends, also where the client library waits on.
func (r *Redis) try(ctx context.Context, c rueidis.Client, command func(context.Context, rueidis.Client) rueidis.RedisResult) (rueidis.RedisResult, error) {
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return rueidis.RedisResult{}, ctx.Err()
	case <-r.ctx.Done():
		return rueidis.RedisResult{}, errRedisEnded
	}
	answer := make(chan rueidis.RedisResult, 1)
	go func() {
		answer <- command(ctx, c)
		<-r.turns
	}()
	select {
	case res := <-answer:
		return res, res.Error()
	case <-ctx.Done():
		select { // it may have come at the same time
		case res := <-answer:
			return res, res.Error()
		default:
			return rueidis.RedisResult{}, ctx.Err()
		}
	}
}
