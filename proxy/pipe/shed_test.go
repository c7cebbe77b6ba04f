package pipe

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func admitted(s *Shedder, p exchange.Priority) (n int) {
	for range 1000 {
		if s.Admit(p) {
			n++
		}
	}
	return n
}

func TestTheLeastImportantIsTurnedAwayFirst(t *testing.T) {
	var log strings.Builder
	s := &Shedder{Delay: 10 * time.Millisecond, Interval: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}
	late := func(n int) {
		for range n {
			s.decide(11 * time.Millisecond)
		}
	}
	for _, c := range []struct {
		intervals                   int
		sheddable, normal, critical [2]int // admitted of 1000, between
	}{
		{0, [2]int{1000, 1000}, [2]int{1000, 1000}, [2]int{1000, 1000}},
		{5, [2]int{350, 650}, [2]int{1000, 1000}, [2]int{1000, 1000}},
		{5, [2]int{0, 0}, [2]int{1000, 1000}, [2]int{1000, 1000}},
		{5, [2]int{0, 0}, [2]int{350, 650}, [2]int{1000, 1000}},
		{50, [2]int{0, 0}, [2]int{10, 120}, [2]int{1000, 1000}},
	} {
		late(c.intervals)
		for p, want := range map[exchange.Priority][2]int{exchange.Sheddable: c.sheddable, exchange.Default: c.normal, exchange.Critical: c.critical} {
			if n := admitted(s, p); n < want[0] || n > want[1] {
				t.Errorf("level %.1f: %d of priority %d admitted, want %v", s.Level(), n, p, want)
			}
		}
	}
	if s.Shed(exchange.Sheddable) < 2000 || s.Shed(exchange.Default) < 1000 || s.Shed(exchange.Critical) != 0 {
		t.Errorf("counted %d, %d, %d", s.Shed(exchange.Sheddable), s.Shed(exchange.Default), s.Shed(exchange.Critical))
	}
	for range 39 {
		s.decide(time.Millisecond)
	}
	if s.Level() != 0 || admitted(s, exchange.Sheddable) != 1000 {
		t.Errorf("level %.2f once it is over", s.Level())
	}
	for _, said := range []string{"level=WARN", "level=ERROR", "level=INFO"} {
		if strings.Count(log.String(), said) != 1 {
			t.Errorf("%s: %s", said, log.String())
		}
	}
	if !(*Shedder)(nil).Admit(exchange.Sheddable) {
		t.Error("what is not configured turns somebody away")
	}
}

// One look without delay in an interval is enough: there was only a burst.
func TestABurstIsNoOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		var lasting atomic.Bool
		s := &Shedder{Delay: 10 * time.Millisecond, Interval: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Measure: func() time.Duration {
				if looks++; !lasting.Load() && looks%shedLook == 0 {
					return 0
				}
				return time.Second
			}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if s.Level() != 0 {
			t.Errorf("level %.2f after bursts", s.Level())
		}
		lasting.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if l := s.Level(); l < 0.9 || s.LastDelay() != time.Second {
			t.Errorf("level %.2f after a second of delay", l)
		}
		stop()
		<-ended
	})
}

func TestARefusalIsMadeBeforeTheRoutesFilters(t *testing.T) {
	k := newKit(t)
	k.cfg.Shed = &Shedder{Log: slog.New(slog.DiscardHandler)}
	k.cfg.Shed.level.Store(shedAll)
	k.route.Priority = exchange.Sheddable
	k.start()
	x := k.get("/a/x")
	k.pipe.Serve(x)
	if x.Response.Status != 503 || x.Fault == nil || x.Fault.Code != "overloaded" || x.Response.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %v", x.Response.Status, x.Fault)
	}
	k.finish(x)
	if j := k.j.take(); strings.Contains(j, "a.req") || strings.Contains(j, "forward") {
		t.Error(j)
	}
	k.route.Priority = exchange.Default // as compiled it is another
}

func TestAdmittingAllocatesNothing(t *testing.T) {
	s := &Shedder{}
	if n := testing.AllocsPerRun(100, func() { s.Admit(exchange.Default) }); n != 0 {
		t.Error(n)
	}
}

// A configured answer stands in where no filter has one.
func TestTheConfiguredAnswerStandsIn(t *testing.T) {
	in := &exchange.Instead{Status: 203, Header: []exchange.Field{{Name: "X-From", Value: "fallback"}}, Body: []byte("[]")}
	x := &exchange.Exchange{}
	if !instead(x, &exchange.Fault{Instead: in}) || x.Response.Status != 203 || x.Response.Header.Get("X-From") != "fallback" || x.Response.Length != 2 {
		t.Errorf("%+v", x.Response)
	}
	if instead(&exchange.Exchange{}, &exchange.Fault{}) {
		t.Error("an answer out of nothing")
	}
}
