package compose

import (
	"log/slog"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

func parse(t *testing.T, text string) *config.Snapshot {
	t.Helper()
	s, err := config.Parse("lintel.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAConnectionIsLeasedByNameAndSettings(t *testing.T) {
	const text = "version: 1\nredis: {default: {addresses: '127.0.0.1:1', password: geheim}, other: {addresses: '127.0.0.1:2'}}\n"
	s, set := parse(t, text), store.NewSet()
	r := &Redis{Log: slog.New(slog.DiscardHandler)}
	first, second := set.Lease(), set.Lease()
	a, err := r.For(first, s)("default")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := r.For(second, parse(t, text))("default")
	if a != b {
		t.Error("a reload that changed nothing opened another connection")
	}
	third := set.Lease()
	if c, _ := r.For(third, parse(t, strings.Replace(text, "geheim", "neu", 1)))("default"); c == a {
		t.Error("a changed password left the old connection")
	}
	if got := r.Status(); len(got) != 1 || got[0].Name != "default" || got[0].Up {
		t.Errorf("%+v", got)
	}
	for _, c := range r.checks() {
		if c.Required || c.OK || strings.Contains(c.Detail, "geheim") {
			t.Errorf("%+v: want not ready, not required, no secret", c)
		}
	}
	m := tracing.NewMetrics()
	if err := r.gauges(m); err != nil {
		t.Error(err)
	}
	first.Release()
	second.Release()
	third.Release()
	if got := r.Status(); len(got) != 0 {
		t.Errorf("released, but still there: %+v", got)
	}
}

func TestAWrongRedisIsRefusedAtItsPlace(t *testing.T) {
	for want, text := range map[string]string{
		"lintel.yaml:4: redis default: addresses: found \"localhost\"": "version: 1\nredis:\n  default:\n    addresses: localhost\n",
		"lintel.yaml:5: redis default: master: only":                   "version: 1\nredis:\n  default:\n    addresses: a:1\n    master: m\n",
		"lintel.yaml:5: redis default: tls: open /nowhere":             "version: 1\nredis:\n  default:\n    addresses: a:1\n    tls: {ca: /nowhere}\n",
	} {
		errs := CheckRedis(parse(t, text))
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) {
			t.Errorf("%v\nwant %s", errs, want)
		}
	}
	lease := store.NewSet().Lease()
	for want, text := range map[string]string{
		"there is no section redis":                 "version: 1\n",
		"\"default\" does not exist; there is a, b": "version: 1\nredis: {b: {addresses: x:1}, a: {addresses: x:1}}\n",
	} {
		if _, err := (&Redis{Offline: true}).For(lease, parse(t, text))("default"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
