package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// lookEvery is how often readiness is looked at until it is there.
const lookEvery = 50 * time.Millisecond

// announce tells the process before this one and the service manager
// (sd_notify(3)) when m is ready and when it ends, and pings the manager's
// watchdog meanwhile. It ends with ctx.
func (p *process) announce(ctx context.Context, m mode) {
	if !p.awaitReady(ctx, m) {
		return
	}
	if err := p.handover.ready(); err != nil {
		p.log.Error("handover: no pid file was written, or the process before was not told; that one then goes on", "error", err)
	}
	p.tell(fmt.Sprintf("READY=1\nSTATUS=ready\nMAINPID=%d", os.Getpid()))
	var ping <-chan time.Time
	if every, err := daemon.SdWatchdogEnabled(false); err == nil && every > 0 {
		ticker := time.NewTicker(every / 2)
		defer ticker.Stop()
		ping = ticker.C
	}
	stopping := p.ctx.Done()
	for {
		select {
		case <-ping:
			p.tell(daemon.SdNotifyWatchdog)
		case <-stopping:
			p.tell(daemon.SdNotifyStopping + "\nSTATUS=draining")
			stopping = nil
		case <-ctx.Done():
			return
		}
	}
}

// awaitReady reports whether m became ready before ctx or the process's own end.
func (p *process) awaitReady(ctx context.Context, m mode) bool {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := ""
	for {
		err := m.Ready()
		if err == nil {
			return true
		}
		if says := err.Error(); says != last {
			last = says
			p.tell("STATUS=not ready: " + says)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (p *process) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
