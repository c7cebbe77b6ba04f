package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

// poll is a blocking query that is repeated for as long as its context lives,
// by Consul's rules (developer.hashicorp.com/consul/api-docs/features/blocking):
// an index that goes backwards starts over, an index is at least 1, errors back
// off, and an index that never rests cannot spin us.
type poll[T any] struct {
	consul  *Consul
	about   string // "endpoints of orders"
	needs   string // ACL permission, for the message when it is denied
	ahead   bool   // it does not take turns with services' endpoints
	ask     func(*api.QueryOptions) (T, *api.QueryMeta, error)
	answer  func(T, *api.QueryMeta) error // an error says that it cannot be trusted
	confirm func()                        // the agent lives while the query blocks: the last answer holds; may be nil
	failed  func(error)                   // may be nil
	before  *answered                     // nil: every answer is decoded; ask must make one call
	place   *asker                        // among those who take turns
}

func (p *poll[T]) run(ctx context.Context) error {
	p.place = p.seats().enter()
	defer p.seats().leave(p.place)
	pace := rate.NewLimiter(queryRate, queryBurst)
	var index uint64
	var failures int
	var logged time.Time
	token := p.consul.token.now(p.consul.cfg.Log)
	for {
		// Consul blocks for the whole wait, rather than answer, when a token
		// may see nothing of what changes: ask afresh with a new token.
		if t := p.consul.token.now(p.consul.cfg.Log); t != token {
			token, index = t, 0
		}
		if pace.Wait(ctx) != nil {
			<-ctx.Done() // the limiter refuses a wait past the deadline; callers expect ctx's own end
			return ctx.Err()
		}
		value, meta, err := p.once(ctx, index)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errCrowded) {
			continue // it was not answered, and did not fail
		}
		if errors.Is(err, errSame) {
			if p.confirm != nil {
				p.confirm()
			}
			continue
		}
		if err == nil {
			err = p.answer(value, meta)
		}
		if err == nil {
			if failures > 0 {
				p.consul.cfg.Log.Info("discovery: consul answers again", "about", p.about, "failures", failures)
			}
			failures = 0
			index = nextIndex(index, meta.LastIndex)
			continue
		}
		err = p.explain(err)
		if failures++; failures == 1 || time.Since(logged) > time.Minute {
			logged = time.Now()
			p.consul.cfg.Log.Warn("discovery: consul does not answer; keeping what was last known", "about", p.about, "failures", failures, "error", err)
		}
		if p.failed != nil {
			p.failed(err)
		}
		// The agent that comes back may count from 1 again, and blocks on an
		// index it has not reached: ask afresh.
		index = 0
		if !sleep(ctx, backoff(failures)) {
			return ctx.Err()
		}
	}
}

func (p *poll[T]) seats() *seats {
	if p.ahead {
		return p.consul.ahead
	}
	return p.consul.seats
}

// nextIndex is what to wait beyond, after waiting beyond last brought got.
func nextIndex(last, got uint64) uint64 {
	if got < last {
		return 0
	}
	return max(got, 1)
}

// once asks one time. A blocking query is watched by the pulse, since a frozen
// agent looks just like a quiet one.
func (p *poll[T]) once(ctx context.Context, index uint64) (T, *api.QueryMeta, error) {
	var none T
	seats := p.seats()
	rise, err := seats.sit(ctx, p.place)
	if err != nil {
		return none, nil, err
	}
	defer rise()
	limit := shortQuery
	if index > 0 { // the agent adds up to wait/16
		limit += p.consul.cfg.Wait + p.consul.cfg.Wait/16
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wait := p.consul.cfg.Wait
	if index > 0 {
		var over func()
		wait, over = seats.stay(wait, cancel)
		defer over()
		leave := p.consul.pulse.attend(func(err error) {
			if err != nil {
				cancel(err)
			} else if p.confirm != nil {
				p.confirm()
			}
		})
		defer leave()
	}
	if p.before != nil {
		if index == 0 {
			*p.before = answered{}
		}
		ctx = p.before.expect(ctx)
	}
	q := p.consul.options(ctx)
	q.WaitIndex, q.WaitTime = index, wait
	value, meta, err := p.ask(q)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if err == nil && meta == nil {
		err = errors.New("an answer without an index")
	}
	if err == nil && p.before != nil && p.before.same {
		err = errSame
	}
	return value, meta, err
}

func (p *poll[T]) explain(err error) error {
	if isStatus(err, 403) || errors.Is(err, ErrDenied) {
		return fmt.Errorf("discovery: %s: %w (%w): the ACL token needs %s", p.about, ErrDenied, err, p.needs)
	}
	if isStatus(err, 429) {
		return fmt.Errorf("discovery: %s: %w: the agent takes no more connections of this address: "+
			"raise its limits.http_max_conns_per_client (200 by default) or lower discovery.consul.max_watches", p.about, err)
	}
	return fmt.Errorf("discovery: %s: %w", p.about, err)
}

// backoff grows to 30 s, with jitter of the upper half so that many clients of
// an agent that returns do not ask at once.
func backoff(failures int) time.Duration {
	d := maxBackoff
	if failures < 8 {
		d = min(d, firstBackoff<<(failures-1))
	}
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pulse asks the agent for a sign of life at intervals, once for all queries
// that block meanwhile, and tells each of them.
type pulse struct {
	every time.Duration
	beat  func(context.Context) error

	mu        sync.Mutex
	attending map[*func(error)]struct{}
	stop      context.CancelFunc
}

// attend has tell called after each beat until leave is called; tell may still
// be running then.
func (p *pulse) attend(tell func(error)) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.attending) == 0 {
		p.attending = map[*func(error)]struct{}{}
		var ctx context.Context
		ctx, p.stop = context.WithCancel(context.Background())
		go p.run(ctx)
	}
	p.attending[&tell] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(p.attending, &tell); len(p.attending) == 0 {
			p.stop()
		}
	}
}

func (p *pulse) run(ctx context.Context) {
	for sleep(ctx, p.every) {
		limited, cancel := context.WithTimeout(ctx, max(p.every/2, time.Second))
		err := p.beat(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		var tell []func(error)
		for t := range p.attending {
			tell = append(tell, *t)
		}
		p.mu.Unlock()
		for _, t := range tell {
			t(err)
		}
	}
}
