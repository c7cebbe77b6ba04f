package acl

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var env = &filter.Env{Consumers: []filter.Consumer{{Name: "a", Groups: []string{"gold"}}, {Name: "b"}}}

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, env)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func TestWhoMayPass(t *testing.T) {
	user := &exchange.Identity{Subject: "ada", Roles: []string{"admin", "dev"}, Scope: []string{"read", "write"}}
	for _, c := range []struct {
		name string
		cfg  Config
		x    exchange.Exchange
		want string
	}{
		{"consumer", Config{Consumers: []string{"a"}}, exchange.Exchange{Consumer: "a"}, ""},
		{"another consumer", Config{Consumers: []string{"a"}}, exchange.Exchange{Consumer: "b"}, "consumer-refused"},
		{"nobody", Config{Consumers: []string{"a"}}, exchange.Exchange{}, "consumer-refused"},
		{"a consumer that is not configured", Config{Consumers: []string{"a"}}, exchange.Exchange{Consumer: "z"}, "consumer-refused"},
		{"group", Config{Groups: []string{"gold"}}, exchange.Exchange{Consumer: "a"}, ""},
		{"not in the group", Config{Groups: []string{"gold"}}, exchange.Exchange{Consumer: "b"}, "consumer-refused"},
		{"by group or name", Config{Groups: []string{"gold"}, Consumers: []string{"b"}}, exchange.Exchange{Consumer: "b"}, ""},
		{"one of the roles", Config{Roles: []string{"ops", "admin"}}, exchange.Exchange{Identity: user}, ""},
		{"no such role", Config{Roles: []string{"ops"}}, exchange.Exchange{Identity: user}, "role-refused"},
		{"a role of nobody", Config{Roles: []string{"ops"}}, exchange.Exchange{}, "role-refused"},
		{"all scopes", Config{Scopes: []string{"read", "write"}}, exchange.Exchange{Identity: user}, ""},
		{"not all scopes", Config{Scopes: []string{"read", "pay"}}, exchange.Exchange{Identity: user}, "insufficient-scope"},
		{"scopes of nobody", Config{Scopes: []string{"read"}}, exchange.Exchange{}, "insufficient-scope"},
		{"role without the consumer", Config{Roles: []string{"admin"}, Consumers: []string{"a"}}, exchange.Exchange{Identity: user}, "consumer-refused"},
		{"both", Config{Roles: []string{"admin"}, Consumers: []string{"a"}}, exchange.Exchange{Identity: user, Consumer: "a"}, ""},
	} {
		got := ""
		if fault := newFilter(t, c.cfg).OnRequest(&c.x).Fault(); fault != nil {
			got = fault.Code
			if fault.Status != 403 {
				t.Errorf("%s: status %d", c.name, fault.Status)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for path, c := range map[string]Config{"": {}, "consumers[0]": {Consumers: []string{"z"}}, "groups[0]": {Groups: []string{"z"}}, "scopes[0]": {Scopes: []string{"a b"}}} {
		_, err := Kind().Build(&c, env)
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != path {
			t.Errorf("%+v: %v, want an error at %q", c, err, path)
		}
	}
}

func TestExplainSaysWho(t *testing.T) {
	f := newFilter(t, Config{Groups: []string{"gold"}, Roles: []string{"admin"}, Scopes: []string{"read"}})
	if got := f.Explain(); got != "lets through groups [gold], with one of the roles [admin], with all of the scopes [read]" {
		t.Error(got)
	}
}

func TestWhoPassesCostsNoAllocation(t *testing.T) {
	f := newFilter(t, Config{Groups: []string{"gold"}})
	x := &exchange.Exchange{Consumer: "a"}
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkConsumer(b *testing.B) {
	f := newFilter(b, Config{Groups: []string{"gold"}})
	x := &exchange.Exchange{Consumer: "a"}
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
