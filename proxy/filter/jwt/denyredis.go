package jwt

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/store"
)

const (
	denyPage  = 1000            // entries asked for at once
	denyAnew  = 5 * time.Minute // how often the list is read from its beginning
	denySweep = time.Minute     // how often entries that have ended are dropped
	maxDenied = 1 << 20         // entries kept
	maxRead   = 4 * maxDenied   // and read at once: the same ones may be listed again and again

	maxDeniedBytes = 256 << 20 // of their issuers and ids
)

// denyKey is a token; issuer "" is any issuer's.
type denyKey struct{ issuer, jti string }

func (k denyKey) size() int { return len(k.issuer) + len(k.jti) }

// RedisDenials is a list in a Redis stream that all processes follow, each once
// an interval and never because of a request. What it has learnt it keeps until
// the entry's own end: a Redis that lost its data lets nobody in again.
type RedisDenials struct {
	redis *store.Redis
	key   string
	every time.Duration
	log   *slog.Logger

	mu     sync.RWMutex
	list   map[denyKey]time.Time // when the entry ends, zero: never
	bytes  int                   // of its keys
	read   time.Time             // when all there was had been read the last time
	failed string                // what was logged last; the goroutine's own

	cancel context.CancelFunc
	done   chan struct{}
}

func newRedisDenials(redis *store.Redis, key string, every time.Duration, log *slog.Logger) *RedisDenials {
	d := &RedisDenials{redis: redis, key: key, every: every, log: log, list: map[denyKey]time.Time{}, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.follow(ctx)
	return d
}

// Close stops following the list.
func (d *RedisDenials) Close() error {
	d.cancel()
	<-d.done
	return nil
}

// Denied implements Denials.
func (d *RedisDenials) Denied(issuer, jti string, now time.Time) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, k := range [2]denyKey{{issuer, jti}, {"", jti}} {
		if until, listed := d.list[k]; listed && (until.IsZero() || now.Before(until)) {
			return true
		}
	}
	return false
}

// Read implements Denials: the list has been followed without a gap up to then.
func (d *RedisDenials) Read() time.Time {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.read
}

func (d *RedisDenials) follow(ctx context.Context) {
	defer close(d.done)
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	last, anew, sweep := "", time.Time{}, time.Now().Add(denySweep)
	for {
		began := time.Now()
		if began.After(anew) || d.failed != "" { // after a gap, another Redis may have taken over
			last = ""
		}
		from := last
		next, err := d.readOn(ctx, last)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = next
			d.mu.Lock()
			d.read = began
			d.mu.Unlock()
			if from == "" {
				anew = began.Add(denyAnew)
			}
			if d.failed != "" {
				d.log.Info("jwt: deny list is followed again", "redis", d.redis.Name(), "key", d.key)
			}
			d.failed = ""
		case err.Error() != d.failed:
			d.failed = err.Error()
			d.log.Error("jwt: deny list is not followed, what is known stays", "redis", d.redis.Name(), "key", d.key, "error", err)
		}
		if began.After(sweep) {
			sweep = began.Add(denySweep)
			d.drop(began)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// readOn takes over all entries after the one with the ID last, and returns the ID
// of the newest. One that cannot be read is an error, since a withdrawn token that
// is not known is as bad as a list that cannot be read; but those behind it count.
func (d *RedisDenials) readOn(ctx context.Context, last string) (string, error) {
	var wrong error
	for n := 0; ; n += denyPage {
		page, err := d.redis.ReadLog(ctx, d.key, last, denyPage)
		if err == nil && n > maxRead {
			err = fmt.Errorf("more than %d entries", maxRead)
		}
		if err != nil {
			return last, err
		}
		if err := d.take(page); wrong == nil {
			wrong = err
		}
		if len(page) > 0 {
			last = page[len(page)-1].ID
		}
		if len(page) < denyPage {
			return last, wrong
		}
	}
}

// take adds entries, and returns what was wrong with the first that it could not
// add.
func (d *RedisDenials) take(page []store.LogEntry) (wrong error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range page {
		k, until, err := denial(e)
		if _, known := d.list[k]; err == nil && !known && (len(d.list) >= maxDenied || d.bytes+k.size() > maxDeniedBytes) {
			err = fmt.Errorf("more than %d tokens, or %d bytes, are listed", maxDenied, maxDeniedBytes)
		} else if err == nil {
			if !known {
				d.bytes += k.size()
			}
			d.list[k] = until
		}
		if wrong == nil {
			wrong = err
		}
	}
	return wrong
}

// denial reads an entry.
func denial(e store.LogEntry) (k denyKey, until time.Time, err error) {
	k = denyKey{e.Fields["iss"], e.Fields["jti"]}
	if k.jti == "" || len(k.jti) > maxJTI || len(k.issuer) > maxIssuer {
		return k, until, fmt.Errorf("entry %s: want a field jti of at most %d bytes, and iss, if it is there, of at most %d", e.ID, maxJTI, maxIssuer)
	}
	if at := e.Fields["until"]; at != "" {
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return k, until, fmt.Errorf("entry %s: until is %.40q, want seconds since 1970", e.ID, at)
		}
		until = time.Unix(seconds, 0)
	}
	return k, until, nil
}

// drop forgets what has ended.
func (d *RedisDenials) drop(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, until := range d.list {
		if !until.IsZero() && !now.Before(until) {
			delete(d.list, k)
			d.bytes -= k.size()
		}
	}
}

// denyScript adds an entry, and takes off the oldest ones that ended an hour ago
// and have been there for as long: in order, since a later one may take an earlier
// one back.
var denyScript = store.NewScript(`
local ago = tonumber(ARGV[1]) - 3600
for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)) do
  local ends = nil
  for i = 1, #e[2], 2 do
    if e[2][i] == 'until' then ends = tonumber(e[2][i+1]) end
  end
  if not ends or ends > ago or tonumber(string.match(e[1], '^%d+')) > ago * 1000 then break end
  redis.call('XDEL', KEYS[1], e[1])
end
redis.call('XADD', KEYS[1], '*', 'jti', ARGV[2], 'iss', ARGV[3], 'until', ARGV[4])
return {1}`)

// Deny withdraws a token for every process that follows the list: of one issuer, or
// of any when that is empty, until a time, or for ever when that is zero. A time
// that has passed takes it off again.
func (d *RedisDenials) Deny(ctx context.Context, issuer, jti string, until time.Time) error {
	if jti == "" || len(jti) > maxJTI || len(issuer) > maxIssuer {
		return fmt.Errorf("want a jti of at most %d bytes and an issuer of at most %d", maxJTI, maxIssuer)
	}
	end := ""
	if !until.IsZero() {
		end = strconv.FormatInt(until.Unix(), 10)
	}
	_, err := d.redis.Run(ctx, denyScript, d.key, strconv.FormatInt(time.Now().Unix(), 10), jti, issuer, end)
	if err != nil {
		return fmt.Errorf("redis %s: %w", d.redis.Name(), err)
	}
	return nil
}
