package exchange

import (
	"slices"
	"testing"
)

func fields(pairs ...string) *Fields {
	f := &Fields{}
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

func lines(f *Fields) []string {
	var out []string
	for n, v := range f.All() {
		out = append(out, n+"="+v)
	}
	return out
}

func TestEqualFoldIsASCIIOnly(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"Host", "hOST", true}, {"x-a", "X-A", true}, {"", "", true}, {"a", "", false},
		{"@", "`", false}, {"[", "{", false}, {"^", "~", false}, {"0", "P", false}, {"\r", "-", false},
		{"K", "\u212a", false}, {"\xc1", "\xe1", false}, {"_", "\x7f", false},
	} {
		if got := EqualFold(c.a, c.b); got != c.want {
			t.Errorf("EqualFold(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestLookUpsIgnoreCaseAndKeepOrderAndSpelling(t *testing.T) {
	f := fields("A", "1", "b", "2", "a", "3", "C", "", "A", "4")
	if f.Get("a") != "1" || f.Get("zz") != "" || !f.Has("c") || f.Has("d") || f.Count("A") != 3 || f.Len() != 5 {
		t.Fatal(lines(f))
	}
	if got := f.Joined("a"); got != "1, 3, 4" {
		t.Error(got)
	}
	if got := fields("a", "", "A", "x").Joined("A"); got != ", x" {
		t.Errorf("an empty first value is lost: %q", got)
	}
	if got := slices.Collect(f.Values("a")); !slices.Equal(got, []string{"1", "3", "4"}) {
		t.Error(got)
	}
	for range f.Values("a") {
		break
	}
	f.Set("A", "9")
	if got := lines(f); !slices.Equal(got, []string{"A=9", "b=2", "C="}) {
		t.Error(got)
	}
	f.Set("new", "1")
	if n := f.Del("B"); n != 1 || f.Has("b") {
		t.Error(n, lines(f))
	}
	if n := f.Del("none"); n != 0 {
		t.Error(n)
	}
	if n := f.Filter(func(name, v string) bool { return v != "" }); n != 1 || !slices.Equal(lines(f), []string{"A=9", "new=1"}) {
		t.Error(n, lines(f))
	}
}

func TestHasTokenReadsEveryLineOfTheList(t *testing.T) {
	f := fields("Connection", "keep-alive,\tUpgrade ", "connection", " close", "TE", "trailersx")
	for token, want := range map[string]bool{"upgrade": true, "CLOSE": true, "keep-alive": true, "keep": false, "": false} {
		if got := f.HasToken("CONNECTION", token); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
	if f.HasToken("te", "trailers") {
		t.Error("a prefix is no token")
	}
}

func TestCloneAndReplaceAreIndependent(t *testing.T) {
	f := fields("a", "1", "b", "2")
	c := f.Clone()
	var r Fields
	r.Add("x", "9")
	r.Replace(f)
	f.Set("a", "changed")
	f.Del("b")
	f.Add("c", "3")
	for _, got := range []*Fields{&c, &r} {
		if !slices.Equal(lines(got), []string{"a=1", "b=2"}) {
			t.Error(lines(got))
		}
	}
}

func TestRemovalLeavesNothingBehindInMemory(t *testing.T) {
	for name, remove := range map[string]func(f *Fields){
		"Del":     func(f *Fields) { f.Del("secret") },
		"Set":     func(f *Fields) { f.Set("secret", "") },
		"Filter":  func(f *Fields) { f.Filter(func(n, _ string) bool { return n != "secret" }) },
		"Reset":   func(f *Fields) { f.Reset() },
		"Replace": func(f *Fields) { f.Replace(fields("x", "y")) },
	} {
		f := fields("a", "1", "secret", "token", "secret", "token")
		remove(f)
		for _, l := range f.list[:cap(f.list)] {
			if l.Value == "token" {
				t.Errorf("%s keeps %v", name, l)
			}
		}
	}
}

func TestLookUpsDoNotAllocate(t *testing.T) {
	f := fields("Host", "a", "Accept", "b", "Connection", "keep-alive, upgrade", "X-One", "1", "X-Two", "2", "x-two", "3")
	if n := testing.AllocsPerRun(100, func() {
		if f.Get("x-one") != "1" || f.Joined("ACCEPT") != "b" || !f.HasToken("connection", "Upgrade") || f.Count("x-two") != 2 || f.Has("nope") {
			panic("wrong")
		}
		for n := range f.All() {
			_ = n
		}
		for v := range f.Values("X-Two") {
			_ = v
		}
		f.Set("x-one", "1")
		f.Filter(func(string, string) bool { return true })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSameName(t *testing.T) {
	for name, want := range map[string]bool{"X-Real-IP": true, "x_real_ip": true, "X.Real-Ip": true, "x-real-ip": true,
		"X-Real-IPs": false, "XReal-IP": false, "X-Real-1P": false, "": false} {
		if SameName(name, "x-real-ip") != want {
			t.Error(name)
		}
	}
}

func TestRemoveTakesOneLine(t *testing.T) {
	f := fields("A", "1", "B", "2", "C", "3")
	f.Remove(1)
	if f.Len() != 2 || f.At(0).Name != "A" || f.At(1).Name != "C" || f.list[:3][2] != (Field{}) {
		t.Errorf("left: %v", f.list[:3])
	}
	f.Remove(1)
	f.Remove(0)
	if f.Len() != 0 {
		t.Error("lines are left")
	}
}

func TestTrim(t *testing.T) {
	for in, want := range map[string]string{"": "", " \t": "", "a": "a", " a b\t": "a b", "\u00a0a": "\u00a0a"} {
		if got := Trim(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestFilterAsksOncePerLineAndKeepsTheOrder(t *testing.T) {
	for skip := range 5 {
		f := fields("A", "", "B", "", "C", "", "D", "")
		var asked []string
		n := f.Filter(func(name, _ string) bool {
			asked = append(asked, name)
			return len(asked) != skip+1
		})
		if len(asked) != 4 || n != min(1, 4-skip) || f.Len() != 4-n {
			t.Errorf("without line %d: asked for %v, removed %d", skip, asked, n)
		}
	}
}
