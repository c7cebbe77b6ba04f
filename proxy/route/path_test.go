package route

import (
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	const bad = ""
	for _, c := range []struct{ in, strict, keep string }{
		{"/", "/", "/"}, {"/a/b", "/a/b", "/a/b"}, {"/a/", "/a/", "/a/"},
		{"/a/..", "/", "/"}, {"/a/b/..", "/a/", "/a/"}, {"/a/b/../c", "/a/c", "/a/c"}, {"/a/../../..", "/", "/"}, {"/..", "/", "/"},
		{"/../a", "/a", "/a"}, {"/.", "/", "/"}, {"/./a", "/a", "/a"}, {"/a/.", "/a/", "/a/"}, {"/a/./", "/a/", "/a/"}, {"/a/../", "/", "/"},
		{"/%2e%2E/a", "/a", "/a"}, {"/a/%2e/b", "/a/b", "/a/b"}, {"/a/.%2e/b", "/b", "/b"}, {"/%252e%252e/a", "/%252e%252e/a", "/%252e%252e/a"},
		{"//", "/", "/"}, {"//a///b//", "/a/b/", "/a/b/"}, {"//evil.com/..", "/", "/"}, {"/a//../b", "/b", "/b"},
		{"/...", "/...", "/..."}, {"/..a/.b", "/..a/.b", "/..a/.b"}, {"/a..", "/a..", "/a.."},
		{"/a%2fb", bad, "/a%2Fb"}, {"/a%2Fb", bad, "/a%2Fb"}, {"/a%5cb", bad, "/a%5Cb"}, {"/a%00", bad, "/a%00"}, {`/a\b`, bad, "/a%5Cb"},
		{"/..%2fadmin", bad, "/..%2Fadmin"}, {"/..;/a", bad, "/..;/a"}, {"/%2e%2e;x=1/a", bad, "/..;x=1/a"}, {"/.;", bad, "/.;"}, {"/a;b/..", bad, "/"}, {"/a;..;/b", bad, "/a;..;/b"},
		{"/%61%7E%2D", "/a~-", "/a~-"}, {"/%c3%a9", "/%C3%A9", "/%C3%A9"}, {"/é", "/%C3%A9", "/%C3%A9"}, {"/\xff", "/%FF", "/%FF"},
		{"/admin;x/secret", bad, "/admin;x/secret"}, {"/admin%3bx/secret", bad, "/admin%3Bx/secret"}, {"/a;", bad, "/a;"}, {"/%3B/..", bad, "/"},
		{"/%40a:b@c", "/@a:b@c", "/@a:b@c"}, {"/v1/things%3Apurge", "/v1/things:purge", "/v1/things:purge"},
		{"/%3a%21%24%26%27%28%29%2a%2b%2C%3d", "/:!$&'()*+,=", "/:!$&'()*+,="}, {"/:!$&'()*+,=", "/:!$&'()*+,=", "/:!$&'()*+,="},
		{"/%25%23%3f%5b%5D", "/%25%23%3F%5B%5D", "/%25%23%3F%5B%5D"}, {"/%253A", "/%253A", "/%253A"},
		{"/{a}|<b>\"^`", "/%7Ba%7D%7C%3Cb%3E%22%5E%60", "/%7Ba%7D%7C%3Cb%3E%22%5E%60"}, {"/%7ba%7d", "/%7Ba%7D", "/%7Ba%7D"},
		{"/%0d%0a", "/%0D%0A", "/%0D%0A"},
		{"", bad, bad}, {"a", bad, bad}, {"*", bad, bad}, {"/a b", bad, bad}, {"/\n", bad, bad}, {"/\x00", bad, bad}, {"/\x7f", bad, bad},
		{"/a?b", bad, bad}, {"/a#b", bad, bad}, {"/%", bad, bad}, {"/%4", bad, bad}, {"/%zz", bad, bad}, {"/%4g", bad, bad},
	} {
		for mode, want := range map[Mode]string{Strict: c.strict, KeepEncoded: c.keep} {
			got, err := NormalizePath(c.in, mode)
			if got != want || (err != nil) != (want == bad) {
				t.Errorf("NormalizePath(%q, %d) = %q, %v; want %q", c.in, mode, got, err, want)
			}
		}
	}
}

// A protected route must not be passed by with another spelling of what the
// service reads as the same path.
func TestEncodingDoesNotPassARouteBy(t *testing.T) {
	table := compile(t,
		Route{Name: "open", Match: Match{Path: "/*"}, Respond: &Respond{}},
		Route{Name: "protected", Match: Match{Path: "/v1/things:purge"}, Respond: &Respond{}},
		Route{Name: "encoded", Match: Match{Path: "/v1/a%2Ab%3D/*"}, Respond: &Respond{}})
	for path, want := range map[string]string{
		"/v1/things:purge": "protected", "/v1/things%3Apurge": "protected", "/v1/things%3apurge": "protected", "/v1/%74hings%3apurge": "protected",
		"/v1/a*b=/x": "encoded", "/v1/a%2ab%3d": "encoded", "/v1/things%253Apurge": "open",
	} {
		for _, mode := range []Mode{Strict, KeepEncoded} {
			p, err := NormalizePath(path, mode)
			if err != nil {
				t.Fatal(err)
			}
			if r := table.Match(request("GET", p), "h"); r == nil || r.Name != want {
				t.Errorf("%s in mode %d: %v, want %s", path, mode, r, want)
			}
		}
	}
}

func TestNormalPathIsNotCopied(t *testing.T) {
	p := "/api/v1/orders/42:a=b/%C3%A9"
	if n := testing.AllocsPerRun(100, func() { _, _ = NormalizePath(p, Strict) }); n != 0 {
		t.Error(n)
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2E/%2f", "//a//..//", `/\`, "/..;/x", "/é/\xff%", "/%2e%2e;a/./", "/a/b/c/../../..", "/{%7b}", "/a%3Ab%2a", "/a%3bb;c", "/%253A"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	table, err := Compile(Spec{Routes: []Route{{Name: "all", Match: Match{Path: "/*"}, Respond: &Respond{}, StripPrefix: "/a"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p string, strict bool) {
		mode := KeepEncoded
		if strict {
			mode = Strict
		}
		n, err := NormalizePath(p, mode)
		if err != nil {
			if n != "" {
				t.Fatalf("a refused path is returned: %q", n)
			}
			return
		}
		if again, err := NormalizePath(n, mode); again != n || err != nil {
			t.Fatalf("%q → %q → %q, %v", p, n, again, err)
		}
		if n[0] != '/' || strings.Contains(n, "//") || strings.Contains(n, "/./") || strings.Contains(n, "/../") ||
			strings.HasSuffix(n, "/.") || strings.HasSuffix(n, "/..") || strings.Contains(strings.ToLower(n), "%2e") {
			t.Fatalf("%q → %q", p, n)
		}
		for i := range len(n) {
			if n[i] <= ' ' || n[i] >= 0x7f || n[i] == '\\' {
				t.Fatalf("%q → %q", p, n)
			}
		}
		if strict && (strings.Contains(n, "%2F") || strings.Contains(n, "%5C") || strings.Contains(n, "%3B") || strings.Contains(n, ";")) {
			t.Fatalf("%q → %q", p, n)
		}
		x := request("GET", n)
		r := table.Match(x, "h")
		if r == nil {
			t.Fatalf("%q is not matched by /*", n)
		}
		out := r.Outgoing(x)
		if !strings.HasSuffix(n, out) && out != "/" {
			t.Fatalf("matched %q, forwards %q", n, out)
		}
	})
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com.": "example.com", "a.b:8080": "a.b", "a:": "a", "10.0.0.1:1": "10.0.0.1",
		"[::1]": "[::1]", "[FE80::1]:443": "[fe80::1]", "my_svc": "my_svc", "a:65535": "a",
		"": "", ".": "", ":80": "", "a:b": "", "a:+1": "", "a:65536": "", "a:123456": "", "u@a": "", "a/b": "", "a b": "", "a,b": "", "é": "",
		"[::1": "", "[]": "", "[[::1]": "", "[x]": "", "[1.2.3.4]": "", "[::1]x": "", "[::1]:x": "", "::1": "", ".a": "", "a..b": "", "a..": "", "*.a": "", "a%00": "", "a\x00": "",
	} {
		got, ok := Host(in)
		if got != want || ok != (want != "") {
			t.Errorf("Host(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Host("api.example.com:443"); Host("[::1]:80") }); n != 0 {
		t.Error("allocates", n)
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a", "A.:1", "[::1]:2", "[", "", ":", "[%]", "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, ok := Host(s)
		if !ok {
			return
		}
		if again, ok := Host(h); !ok || again != h || h != strings.ToLower(h) {
			t.Fatalf("%q → %q → %q %v", s, h, again, ok)
		}
	})
}
