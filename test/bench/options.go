package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// options are what the command line says.
type options struct {
	scenarios   []*Scenario
	rounds      int
	seconds     int
	connections int
	cores       int
	output      string
	svg         string
	lintel      string
	matchLog    bool
	list        bool
	args        []string
}

var errHelp = errors.New("help is wanted")

func parseOptions(args []string) (options, error) {
	o := options{args: args}
	var names string
	f := o.flags(&names)
	f.SetOutput(io.Discard) // the error is returned, and help is a wish, not a complaint
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, errHelp
		}
		return o, fmt.Errorf("%w (see --help)", err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("expected flags only, found %q (see --help)", f.Arg(0))
	}
	for _, n := range []struct {
		flag      string
		got       int
		low, high int
	}{{"rounds", o.rounds, 1, 100}, {"seconds", o.seconds, 1, 600}, {"connections", o.connections, 1, 10000}, {"cores", o.cores, 1, 2}} {
		if n.got < n.low || n.got > n.high {
			return o, fmt.Errorf("--%s: expected %d to %d, found %d", n.flag, n.low, n.high, n.got)
		}
	}
	if o.output != "markdown" && o.output != "json" {
		return o, fmt.Errorf("--output: expected markdown or json, found %q", o.output)
	}
	var err error
	o.scenarios, err = choose(names)
	return o, err
}

func (o *options) flags(names *string) *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(names, "scenario", "", "`names` of scenarios, with commas between; all without it (--list shows them)")
	f.IntVar(&o.rounds, "rounds", 3, "how often each contender has its turn")
	f.IntVar(&o.seconds, "seconds", 2, "length of one turn under load")
	f.IntVar(&o.connections, "connections", 64, "clients at once")
	f.IntVar(&o.cores, "cores", 1, "cores for the proxy, 1 or 2; 2 needs a machine with four")
	f.StringVar(&o.output, "output", "markdown", "`form` of the result on standard output: markdown or json")
	f.StringVar(&o.svg, "svg", "", "also draw the ratios into this `file`")
	f.StringVar(&o.lintel, "lintel", "", "use this lintel `binary`; one is built from the source otherwise")
	f.BoolVar(&o.matchLog, "match-log", false, "switch Lintel's access log, a default, off wherever its peers write none")
	f.BoolVar(&o.list, "list", false, "list the scenarios and end")
	return f
}

// choose finds scenarios by name, in the order given, each once.
func choose(names string) ([]*Scenario, error) {
	all := scenarios()
	if names == "" {
		return all, nil
	}
	var chosen []*Scenario
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s *Scenario) bool { return s.Name == strings.TrimSpace(name) })
		if i < 0 {
			known := make([]string, len(all))
			for k, s := range all {
				known[k] = s.Name
			}
			return nil, fmt.Errorf("--scenario: expected some of %s; found %q", strings.Join(known, ", "), name)
		}
		if !slices.Contains(chosen, all[i]) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// command is the line that repeats this run.
func (o options) command() string {
	return strings.TrimSpace("go run ./test/bench " + strings.Join(o.args, " "))
}

func help() string {
	var b strings.Builder
	b.WriteString(`Measures Lintel beside whichever of nginx, HAProxy and Caddy is installed: CPU time per request,
requests/s, latency and memory, as ratios to the best of them in the same run.

Usage: go run ./test/bench [flags]

Flags:
`)
	var o options
	var names string
	f := o.flags(&names)
	f.SetOutput(&b)
	f.VisitAll(func(g *flag.Flag) {
		kind, usage := flag.UnquoteUsage(g)
		line := "  --" + strings.TrimSpace(g.Name+" "+kind)
		if g.DefValue != "" && g.DefValue != "false" {
			usage += " (" + g.DefValue + ")"
		}
		fmt.Fprintf(&b, "%-22s %s\n", line, usage)
	})
	b.WriteString(`
Examples:
  go run ./test/bench --list
  go run ./test/bench --scenario plain,jwt --rounds 2
  go run ./test/bench --scenario plain,jwt,cache_hit,mtls_pair --rounds 3 --output json
  go run ./test/bench --rounds 5 --seconds 4 --svg ratios.svg

Needed: Linux and two CPUs; wrk or h2load for most scenarios; peers to compare with. Debian, Ubuntu:
  apt-get install wrk nghttp2-client nginx-light haproxy caddy
Progress goes to standard error. Exit codes: 0; 1 when something could not be measured
or Lintel failed a request; 2 when the command line is wrong.
`)
	return b.String()
}

func writeList(out io.Writer) {
	for _, s := range scenarios() {
		_, _ = fmt.Fprintf(out, "%-16s %s\n", s.Name, s.Title)
	}
}
