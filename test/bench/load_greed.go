package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// smallRate is how many small requests a second are timed: few enough that only
// what runs beside them can make them wait.
const smallRate = 1000

// slice is how long small requests are timed before it is the next kind's turn:
// short, and many, so that what a busy machine does to some of them is not taken
// for the proxy's doing.
const slice = time.Second / 2

// besideGreed times small requests alone and beside each kind of greed, in turns.
func besideGreed(ctx context.Context, b *Bench, t Turn) (Load, error) {
	kinds := []*beside{{name: ""}, {name: "download", unit: "MB/s", per: 1e6}, {name: "flood", unit: "requests/s", per: 1}}
	sum := Load{Shared: true}
	for range t.Seconds * int(time.Second/slice) {
		for _, k := range kinds {
			l, err := k.time(ctx, b, t)
			if err != nil {
				return Load{}, err
			}
			sum.Requests += l.Requests
			sum.Failed += l.Failed
			sum.Elapsed += l.Elapsed
			if l.Why != "" {
				sum.Why = l.Why
			}
		}
	}
	sum.compare(kinds)
	return sum, nil
}

// compare has the first kind, which is none, be what the worst is a multiple of.
func (l *Load) compare(kinds []*beside) {
	alone := kinds[0]
	l.Note = "p50 and p99 in ms: " + alone.String()
	for _, k := range kinds[1:] {
		l.Note += "; " + k.String()
		if k.p99.middle() > l.P99 {
			l.P50, l.P99 = k.p50.middle(), k.p99.middle()
		}
	}
	if least := alone.p99.middle(); least > 0 {
		l.Beside = float64(l.P99) / float64(least)
	}
}

// beside is what was timed beside one kind of greed; without a name, beside none.
type beside struct {
	name, unit string
	per        float64
	p50, p99   durations // of each slice
	got        []float64 // by the greedy client, per second
}

type durations []time.Duration

func (d durations) middle() time.Duration {
	return percentile(slices.Sorted(slices.Values(d)), 50)
}

func (k *beside) String() string {
	s := fmt.Sprintf("%.3f and %.3f", millis(k.p50.middle()), millis(k.p99.middle()))
	if k.name == "" {
		return "alone " + s
	}
	got, _ := spreadOf(k.got)
	return fmt.Sprintf("beside a %s of %.0f %s %s", k.name, got.Median, k.unit, s)
}

// time is one slice.
func (k *beside) time(ctx context.Context, b *Bench, t Turn) (l Load, err error) {
	if k.name == "" {
		l, err = openLoopAt(ctx, b, t.Running.Addr, smallRate, slice)
		k.p50, k.p99 = append(k.p50, l.P50), append(k.p99, l.P99)
		return l, err
	}
	addr := t.Running.Addr
	if len(t.Running.Contender.Hops) == 0 {
		addr = b.Bulk
	}
	p, err := b.startGreed(k.name, addr)
	if err != nil {
		return l, err
	}
	defer p.end()
	before, err := p.tally(b, patience)
	if err != nil {
		return l, err
	}
	if l, err = openLoopAt(ctx, b, t.Running.Addr, smallRate, slice); err != nil {
		return l, err
	}
	after, err := p.tally(b, 0)
	if err != nil {
		return l, err
	}
	amount, took := after.amount-before.amount, (after.at - before.at).Seconds()
	if amount <= 0 || took <= 0 {
		l.Failed++
		l.Why = fmt.Sprintf("the greedy client (%s) got nothing\n%s", k.name, p.tail())
		return l, nil
	}
	k.p50, k.p99 = append(k.p50, l.P50), append(k.p99, l.P99)
	k.got = append(k.got, float64(amount)/took/k.per)
	return l, nil
}

// greed is a greedy client's process. It shares a core with the load and the
// services, so it is this program once more, in a process that the kernel lets
// everything else go before: what the small requests wait for is the proxy.
type greed struct{ *Process }

func (b *Bench) startGreed(kind, addr string) (*greed, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "greed-")
	if err != nil {
		return nil, err
	}
	b.tools["greed"] = tool{path: self}
	prog := &Program{"greed", "target", func(string, string) []string { return []string{greedCommand, kind, addr} }}
	p, err := b.launch(prog, "", Place{Dir: dir}, b.cpus.load)
	if err != nil {
		return nil, err
	}
	if err := yielding(p.group); err != nil {
		p.end()
		return nil, err
	}
	return &greed{p}, nil
}

// taken is what a greedy client has got by some time.
type taken struct {
	amount int64
	at     time.Duration
}

// tally is the last that the process has said, for which there is so much time.
func (p *greed) tally(b *Bench, within time.Duration) (taken, error) {
	for end := time.Now().Add(within); ; {
		text, err := os.ReadFile(filepath.Join(p.Place.Dir, "out.log"))
		if err != nil {
			return taken{}, err
		}
		if t, ok := lastTaken(string(text)); ok {
			return t, nil
		}
		select {
		case <-p.ended:
			return taken{}, fmt.Errorf("the greedy client has ended: %s", p.tail())
		case <-b.ctx.Done():
			return taken{}, b.ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			return taken{}, fmt.Errorf("the greedy client got nothing within %v: %s", within, p.tail())
		}
	}
}

// lastTaken reads the last whole line.
func lastTaken(text string) (t taken, ok bool) {
	whole := text[:strings.LastIndexByte(text, '\n')+1]
	line := whole[strings.LastIndexByte(strings.TrimSuffix(whole, "\n"), '\n')+1:]
	n, err := fmt.Sscanf(line, "%d %d\n", &t.amount, &t.at)
	return t, err == nil && n == 2
}

// greedBulk are the requests of both kinds.
func greedBulk(kind, addr string) []byte {
	if kind == "download" {
		return requestHead("GET", addr, "/bulk/1g", "")
	}
	return bytes.Repeat(requestHead("GET", addr, "/bulk/small", ""), refill)
}
