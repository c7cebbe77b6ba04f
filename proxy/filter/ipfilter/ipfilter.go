package ipfilter

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the ip_filter section of a route.
type Config struct {
	Allow     []string      `yaml:"allow" listify:"true" doc:"addresses and ranges that may call; with this or allow_file all others are refused" example:"[10.0.0.0/8, 2001:db8::/32]"`
	Deny      []string      `yaml:"deny" listify:"true" doc:"addresses and ranges that may not, also if they are allowed"`
	AllowFile string        `yaml:"allow_file" doc:"a file with further ones to allow, one per line, # for comments; read again when it changes"`
	DenyFile  string        `yaml:"deny_file" doc:"the same for deny"`
	Refresh   time.Duration `yaml:"refresh" default:"5s" min:"100ms" doc:"how often the files are looked at"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("ip_filter", "lets only some addresses call, as far as trusted_proxies of the listener tell whose the request is", build)
}

// Filter judges addresses.
type Filter struct {
	allow, deny         *table
	allowFile, denyFile *file
	only                bool // there is something to be allowed by
	about               string
}

func build(c *Config, env *filter.Env) (any, error) {
	f := &Filter{only: c.Allow != nil || c.AllowFile != ""}
	if !f.only && c.Deny == nil && c.DenyFile == "" {
		return nil, filter.Errorf("", "nobody is allowed or denied: want at least one of allow, deny, allow_file and deny_file")
	}
	var err error
	if f.allow, err = compile("allow", c.Allow); err != nil {
		return nil, err
	}
	if f.deny, err = compile("deny", c.Deny); err != nil {
		return nil, err
	}
	every := c.Refresh
	if every <= 0 {
		every = 5 * time.Second
	}
	if f.allowFile, err = lease(env, "allow_file", c.AllowFile, every); err != nil {
		return nil, err
	}
	if f.denyFile, err = lease(env, "deny_file", c.DenyFile, every); err != nil {
		return nil, err
	}
	f.about = c.explain()
	return f, nil
}

func compile(key string, list []string) (*table, error) {
	t, at, err := ParseTable(list)
	if err != nil {
		return nil, filter.Errorf(fmt.Sprintf("%s[%d]", key, at), "%v", err)
	}
	return &t.t, nil
}

// lease shares a file between routes and keeps it across reloads.
func lease(env *filter.Env, key, path string, every time.Duration) (*file, error) {
	if path == "" {
		return nil, nil
	}
	f, err := store.Use(env.Store, "ipfilter/"+path, every.String(), func() (*file, error) { return openFile(path, every, env.Log) })
	if err != nil {
		return nil, filter.Errorf(key, "%v", err)
	}
	return f, nil
}

// OnRequest refuses an address that is denied or not allowed. A caller without
// one, on a unix socket, is in no list.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	a := x.ClientIP.Unmap().WithZone("")
	if in(f.deny, f.denyFile, a) || f.only && !in(f.allow, f.allowFile, a) {
		return filter.Refuse(refusal(a))
	}
	return filter.Next
}

func in(t *table, f *file, a netip.Addr) bool {
	return a.IsValid() && (t.has(a) || f != nil && f.table.Load().has(a))
}

func refusal(a netip.Addr) *exchange.Fault {
	who := "callers without an address"
	if a.IsValid() {
		who = a.String()
	}
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "address-refused",
		Title: "Address not allowed", Detail: "requests from " + who + " are not taken here", Proxy: "http_request_denied"}
}

func (c *Config) explain() string {
	var parts []string
	add := func(word string, list []string, file string) {
		if list == nil && file == "" {
			return
		}
		s := word
		if len(list) > 8 {
			s += fmt.Sprintf(" %s … (%d)", strings.Join(list[:8], " "), len(list))
		} else if len(list) > 0 {
			s += " " + strings.Join(list, " ")
		}
		if file != "" {
			s += " " + file
		}
		parts = append(parts, s)
	}
	add("deny", c.Deny, c.DenyFile)
	add("allow only", c.Allow, c.AllowFile)
	return strings.Join(parts, "; ")
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
