package main

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// tool is a program that was found.
type tool struct{ path, version string }

// tools are by name; what is missing is not there.
type tools map[string]tool

// known are the programs that this measures or measures with, and how each
// tells its version.
var known = []struct {
	name, what string
	version    []string
	pattern    *regexp.Regexp
}{
	{"nginx", "peer and backend", []string{"-v"}, regexp.MustCompile(`nginx/([\d.]+)`)},
	{"haproxy", "peer", []string{"-v"}, regexp.MustCompile(`version (\d[\d.]*)`)},
	{"caddy", "peer", []string{"version"}, regexp.MustCompile(`v?(\d[\d.]*)`)},
	{"wrk", "load", []string{"-v"}, regexp.MustCompile(`wrk (?:debian/)?(\S+)`)},
	{"h2load", "load", []string{"--version"}, regexp.MustCompile(`nghttp2/([\d.]+)`)},
}

// packages are Debian's, for the message.
var packages = map[string]string{"nginx": "nginx-light", "h2load": "nghttp2-client"}

func findTools(progress io.Writer) tools {
	t := tools{}
	for _, k := range known {
		path, err := find(k.name)
		if err != nil {
			pkg := packages[k.name]
			if pkg == "" {
				pkg = k.name
			}
			_, _ = fmt.Fprintf(progress, "%s: not installed, so skipped (%s; apt-get install %s)\n", k.name, k.what, pkg)
			continue
		}
		version := "unknown version"
		// wrk says its version and exits with 1.
		out, _ := exec.Command(path, k.version...).CombinedOutput()
		if m := k.pattern.FindSubmatch(out); m != nil {
			version = string(m[1])
		}
		t[k.name] = tool{path, version}
		_, _ = fmt.Fprintf(progress, "%s: %s, %s (%s)\n", k.name, version, path, k.what)
	}
	return t
}

// find also looks where Debian keeps daemons and a user's PATH may not.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	return path, err
}

// peers says so where there is nobody to compare with.
func (t tools) peers(progress io.Writer) {
	if len(t.missing([]string{"nginx", "haproxy", "caddy"})) == 3 {
		_, _ = fmt.Fprintln(progress, "none of nginx, HAProxy and Caddy is installed: there will be figures, and no ratios")
	}
}

// missing are those of names that were not found.
func (t tools) missing(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := t[n]; return ok })
}

func (t tools) versions() string {
	var vs []string
	for _, k := range known {
		if found, ok := t[k.name]; ok {
			vs = append(vs, k.name+" "+found.version)
		}
	}
	if l, ok := t["lintel"]; ok {
		vs = append([]string{l.version}, vs...)
	}
	return strings.Join(vs, ", ")
}
