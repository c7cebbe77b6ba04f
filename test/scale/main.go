package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// reach is how many services one sidecar may call, a bound of its own.
const reach = 1024

func main() {
	var o options
	flag.IntVar(&o.services, "services", 2000, "services")
	flag.IntVar(&o.endpoints, "endpoints", 50, "endpoints of each")
	flag.IntVar(&o.rate, "rate", 100, "endpoints replaced each second, while there is churn")
	flag.DurationVar(&o.watch, "watch", 30*time.Second, "how long CPU is measured, at rest and under churn")
	flag.IntVar(&o.effects, "effects", 300, "changes whose effect is timed")
	flag.IntVar(&o.requests, "requests", 10000, "requests whose cost is measured")
	flag.IntVar(&o.watches, "watches", 4096, "discovery.consul.max_watches")
	modes := flag.String("modes", "ingress,sidecar", "what is measured")
	flag.Parse()
	if err := report(o, strings.Split(*modes, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func report(o options, modes []string) error {
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o.dir = dir
	if err := build(dir); err != nil {
		return err
	}
	fmt.Printf("%d CPUs, %s, %s/%s; load average before: %s\n\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, loadAverage())
	for _, mode := range modes {
		big := o
		if mode == "sidecar" {
			big.services = min(o.services, reach)
		}
		r, err := both(big, mode)
		if err != nil {
			return err
		}
		fmt.Println(r)
	}
	return nil
}

// both measures one service with one endpoint too, for what services add.
func both(o options, mode string) (string, error) {
	one := o
	one.dir = filepath.Join(o.dir, mode) // its own cache
	if err := os.Mkdir(one.dir, 0o700); err != nil {
		return "", err
	}
	if err := os.Link(filepath.Join(o.dir, "lintel"), filepath.Join(one.dir, "lintel")); err != nil {
		return "", err
	}
	one.services, one.endpoints, one.watch, one.effects, one.rate = 1, 1, time.Second, 1, 1
	base, err := run(one, mode)
	if err != nil {
		return "", err
	}
	r, err := run(o, mode)
	if err != nil {
		return "", err
	}
	r.Base, r.BaseGo = base.RSS, base.Goroutines
	return r.table(o, base), nil
}

func build(dir string) error {
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "lintel"), "lintel.dev/lintel/cmd/lintel").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}

func (r result) perService() float64  { return float64(r.Goroutines-r.BaseGo) / float64(r.Services) }
func (r result) perEndpoint() float64 { return float64(r.RSS-r.Base) / float64(r.Services*r.Endpoints) }

func (r result) table(o options, base result) string {
	var t strings.Builder
	fmt.Fprintf(&t, "| %s: %d services × %d endpoints | | with one |\n|---|---|---|\n", r.Mode, r.Services, r.Endpoints)
	row := func(what, is, one string) { fmt.Fprintf(&t, "| %s | %s | %s |\n", what, is, one) }
	mb := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
	kb := func(n int) string { return fmt.Sprintf("%.1f KB", float64(n)/(1<<10)) }
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	row("start until all endpoints are known", fmt.Sprintf("%.2f s (%.2f s of CPU)", r.Start.Seconds(), r.StartCPU.Seconds()), fmt.Sprintf("%.2f s", base.Start.Seconds()))
	row("resident memory", mb(r.RSS)+", at most "+mb(r.Peak), mb(base.RSS))
	row("memory of an endpoint", fmt.Sprintf("%.0f bytes", r.perEndpoint()), "")
	row("resident memory after churn and a reload", mb(r.AfterRSS), mb(base.AfterRSS))
	row("goroutines", fmt.Sprintf("%d (%.1f a service)", r.Goroutines, r.perService()), fmt.Sprint(base.Goroutines))
	row("connections to Consul", fmt.Sprint(r.Conns), fmt.Sprint(base.Conns))
	row("CPU at rest, of a core", fmt.Sprintf("%.2f %%, %.1f questions/s", 100*r.Rest, r.RestAsked), fmt.Sprintf("%.2f %%", 100*base.Rest))
	row(fmt.Sprintf("CPU at %d changes/s, of a core", o.rate), fmt.Sprintf("%.2f %%, %.1f questions/s", 100*r.Churn, r.ChurnAsked), "")
	row("a reload", fmt.Sprintf("%s (%s of CPU)", ms(r.Reload), ms(r.ReloadCPU)), ms(base.Reload))
	row("/metrics, /services, /readyz", kb(r.Metrics)+", "+kb(r.ServicesAt)+", "+kb(r.Readyz), kb(base.Metrics)+", "+kb(base.ServicesAt)+", "+kb(base.Readyz))
	if r.P50 > 0 {
		row("a change until a request follows it", "p50 "+ms(r.P50)+", p99 "+ms(r.P99), "")
	}
	if r.Request > 0 {
		row("CPU of a request, one at a time", fmt.Sprintf("%d µs", r.Request.Microseconds()), fmt.Sprintf("%d µs", base.Request.Microseconds()))
	}
	return t.String()
}
