package ipfilter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func mustBuild(t testing.TB, c Config) (*Filter, *store.Lease) {
	t.Helper()
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f, err := Kind().Build(&c, &filter.Env{Store: lease, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter), lease
}

func from(a string) *exchange.Exchange {
	x := &exchange.Exchange{}
	if a != "" {
		x.ClientIP = netip.MustParseAddr(a)
	}
	return x
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		yes, no []string
	}{
		{Config{Allow: []string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32"}},
			[]string{"10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1", "::ffff:10.1.2.3"},
			[]string{"9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "", "::1", "::10.0.0.1"}},
		{Config{Deny: []string{"10.1.0.0/16"}}, []string{"10.0.0.1", "10.2.0.0", "", "::1"}, []string{"10.1.0.0", "10.1.255.255", "::ffff:10.1.0.1"}},
		{Config{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.1.0.0/16"}}, []string{"10.0.0.1"}, []string{"10.1.0.1", "8.8.8.8"}},
		{Config{Allow: []string{"0.0.0.0/0"}}, []string{"0.0.0.0", "255.255.255.255"}, []string{"::1"}},
		{Config{Allow: []string{"::/0"}}, []string{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, []string{"1.2.3.4"}},
		{Config{Allow: []string{"::ffff:10.0.0.0/104"}}, []string{"10.9.9.9"}, []string{"11.0.0.1"}},
		{Config{Deny: []string{"fe80::/10"}}, nil, []string{"fe80::1%eth0"}},
		{Config{Allow: []string{}}, nil, []string{"10.0.0.1"}},
	} {
		f, _ := mustBuild(t, c.cfg)
		for _, a := range c.yes {
			if v := f.OnRequest(from(a)); v.Fault() != nil {
				t.Errorf("%s refuses %q: %v", f.Explain(), a, v.Fault())
			}
		}
		for _, a := range c.no {
			if v := f.OnRequest(from(a)); v.Fault() == nil || v.Fault().Status != 403 {
				t.Errorf("%s lets %q pass", f.Explain(), a)
			}
		}
	}
}

// TestTableIsTheUnionOfItsPrefixes compares with asking every prefix.
func TestTableIsTheUnionOfItsPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr {
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{byte(r.IntN(3)), byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0x20, byte(r.IntN(3)), 14: byte(r.IntN(256)), 15: byte(r.IntN(256))})
	}
	for range 300 {
		var list []netip.Prefix
		for range r.IntN(20) {
			a := addr()
			p, err := a.Prefix(r.IntN(a.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		table := newTable(list)
		for range 200 {
			a, want := addr(), false
			for _, p := range list {
				want = want || p.Contains(a)
			}
			if table.has(a) != want {
				t.Fatalf("%v has %v: %t", list, a, !want)
			}
		}
		for _, p := range list { // and just beside each
			for _, a := range []netip.Addr{p.Addr(), last(p), p.Addr().Prev(), last(p).Next()} {
				want := false
				for _, q := range list {
					want = want || q.Contains(a)
				}
				if a.IsValid() && table.has(a) != want {
					t.Fatalf("%v has %v: %t", list, a, !want)
				}
			}
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny.txt")
	write := func(text string) {
		tmp := path + ".tmp"
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	write("# bad people\n192.0.2.0/24  # a network\n\n2001:db8::1\n")
	f, err := openFile(path, time.Hour, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	has := func(a string) bool { return f.table.Load().has(netip.MustParseAddr(a)) }
	if !has("192.0.2.9") || !has("2001:db8::1") || has("192.0.3.1") {
		t.Error("the first list is not in force")
	}
	write("198.51.100.0/24\n")
	f.look()
	if has("192.0.2.9") || !has("198.51.100.1") {
		t.Error("the second list is not in force")
	}
	write("198.51.100.0/24\nrubbish\n")
	f.look()
	f.look()
	if !has("198.51.100.1") || strings.Count(log.String(), "want an address") != 1 || strings.Contains(log.String(), "rubbish") || !strings.Contains(log.String(), "deny.txt:2") {
		t.Errorf("a bad list: %s", log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.look()
	if !has("198.51.100.1") {
		t.Error("a list that is gone is not kept")
	}
	write("203.0.113.1\n")
	f.look()
	if has("198.51.100.1") || !has("203.0.113.1") {
		t.Error("the list that came back is not in force")
	}
}

func TestAFileIsWatchedWhileATableHoldsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allow.txt")
	if err := os.WriteFile(path, []byte("10.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, lease := mustBuild(t, Config{AllowFile: path, Refresh: time.Millisecond})
	if f.OnRequest(from("10.0.0.1")).Fault() != nil || f.OnRequest(from("10.0.0.22")).Fault() == nil {
		t.Error("the file is not in force")
	}
	if err := os.WriteFile(path, []byte("10.0.0.22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new list in force", func() bool { return f.OnRequest(from("10.0.0.22")).Fault() == nil })
	lease.Release() // goleak tells whether the watcher ends
}

func TestBadConfigNamesItsKey(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, []byte("10.0.0.1\nnobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "", "nobody is allowed or denied"},
		{Config{Allow: []string{"10.0.0.0/8", "localhost"}}, "allow[1]", "want an address"},
		{Config{Deny: []string{"10.0.0.1/8"}}, "deny[0]", "did you mean 10.0.0.0/8 or 10.0.0.1?"},
		{Config{Deny: []string{"::ffff:0.0.0.0/90"}}, "deny[0]", "did you mean"},
		{Config{Deny: []string{"fe80::1%eth0"}}, "deny[0]", "want an address"},
		{Config{DenyFile: "/does/not/exist"}, "deny_file", "no such file"},
		{Config{AllowFile: bad}, "allow_file", "bad.txt:2: want an address"},
		{Config{AllowFile: t.TempDir()}, "allow_file", "no regular file"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("10.0.0.%d", i))
	}
	f, _ := mustBuild(t, Config{Allow: many, Deny: []string{"10.0.0.3"}})
	if got := f.Explain(); got != "deny 10.0.0.3; allow only 10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 … (20)" {
		t.Error(got)
	}
}

func large() Config {
	var c Config
	for i := range 100_000 {
		c.Deny = append(c.Deny, netip.AddrFrom4([4]byte{20, byte(i >> 15), byte(i >> 7), byte(i << 1)}).String())
	}
	return c
}

func TestAHundredThousandPrefixesAllocateNothing(t *testing.T) {
	f, _ := mustBuild(t, large())
	x := from("20.1.1.1")
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHundredThousandPrefixes(b *testing.B) {
	f, _ := mustBuild(b, large())
	x := from("20.1.1.1")
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}

func FuzzList(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8\n# c\n", "::ffff:1.2.3.4", "a/b", "1.2.3.4/33", "::/0\r\n1.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseList("f", s)
		if err != nil {
			return
		}
		table := newTable(list)
		for _, p := range list {
			if !table.has(p.Addr()) || !table.has(last(p)) {
				t.Errorf("%v is not in the table", p)
			}
		}
	})
}

func TestAFileThatIsNoListIsNotShown(t *testing.T) {
	_, err := parseList("/etc/secret", "# a token\n  s3cret/8\n")
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "/etc/secret:2: want an address") {
		t.Error(err)
	}
}
