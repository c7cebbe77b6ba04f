package store

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/redis/rueidis"
)

// RedisStatus is what is known about a Redis.
type RedisStatus struct {
	Name     string
	Up       bool
	Err      string    // why not
	Since    time.Time // it is as it is
	Commands int64
	Errors   int64            // commands that failed, those too slow included
	Slow     int64            // given up after Timeout
	Refused  int64            // not sent, because it was known not to answer
	Spent    time.Duration    // on all commands together
	Missed   map[string]int64 // decisions made without it, by how: local, open, closed
}

// Status is how it is.
func (r *Redis) Status() RedisStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RedisStatus{Name: r.cfg.Name, Up: r.up.Load(), Since: r.since, Commands: r.commands.Load(), Errors: r.errs.Load(),
		Slow: r.timeouts.Load(), Refused: r.refused.Load(), Spent: time.Duration(r.spent.Load())}
	s.Missed = maps.Clone(r.missed)
	if !s.Up && r.err != nil {
		s.Err = r.err.Error()
	}
	return s
}

// watch connects, then looks every second whether Redis answers, and sooner when
// commands failed.
func (r *Redis) watch() {
	defer func() {
		r.up.Store(false)
		if c := r.client.Load(); c != nil {
			(*c).Close()
		}
	}()
	wait := minBackoff
	for {
		err := r.probe()
		if r.ctx.Err() != nil {
			return
		}
		if err == nil {
			wait = minBackoff
			r.rise()
			select {
			case <-r.look:
			case <-time.After(probeEvery):
			case <-r.ctx.Done():
				return
			}
			continue
		}
		r.down(err)
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-r.ctx.Done():
			return
		}
		select { // the failures that led here
		case <-r.look:
		default:
		}
		wait = min(2*wait, maxBackoff)
	}
}

// probe asks for a sign of life, connecting first if that has never succeeded.
func (r *Redis) probe() error {
	if r.client.Load() == nil {
		c, err := rueidis.NewClient(r.option)
		if err != nil {
			return err
		}
		r.client.Store(&c)
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Timeout)
	defer cancel()
	_, err := r.try(ctx, *r.client.Load(), func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Ping().Build())
	})
	return err
}

func (r *Redis) rise() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed.Store(0)
	if r.up.Swap(true) {
		return
	}
	r.cfg.Log.Info("redis: answers", "redis", r.cfg.Name, "after", time.Since(r.since).Round(time.Millisecond))
	r.since, r.err, r.told = time.Now(), nil, false
}

// down makes commands fail at once until the probe has succeeded.
func (r *Redis) down(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	if r.up.Swap(false) {
		r.since = time.Now()
	}
	if !r.told {
		r.told = true
		r.cfg.Log.Warn("redis: does not answer; commands are not sent until it does", "redis", r.cfg.Name, "error", err)
	}
	select {
	case r.look <- struct{}{}:
	default:
	}
}

// missEvery is how often the log says that something goes on without Redis.
const missEvery = 10 * time.Second

// Missed counts a decision that was made without Redis, and how: "local", "open"
// or "closed". The log hears of it now and then.
func (r *Redis) Missed(how string, log *slog.Logger, err error) {
	r.mu.Lock()
	if r.missed == nil {
		r.missed = map[string]int64{}
	}
	r.missed[how]++
	n, now := r.missed[how], time.Now()
	say := now.Sub(r.missTold) >= missEvery
	if say {
		r.missTold = now
	}
	r.mu.Unlock()
	if say {
		log.Warn("redis: cannot be asked; what needs it goes on as its on_store_error says", "redis", r.cfg.Name,
			"on_store_error", how, "decisions", n, "error", err)
	}
}
