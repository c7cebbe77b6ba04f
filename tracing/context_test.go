package tracing

import (
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

const (
	traceHex = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanHex  = "00f067aa0ba902b7"
	sampled  = "00-" + traceHex + "-" + spanHex + "-01"
)

func TestTraceparent(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		ok    bool
		flags byte
	}{
		"sampled":                         {sampled, true, 1},
		"not sampled":                     {"00-" + traceHex + "-" + spanHex + "-00", true, 0},
		"random flag of level 2":          {"00-" + traceHex + "-" + spanHex + "-03", true, 3},
		"unknown flags are ignored":       {"00-" + traceHex + "-" + spanHex + "-f9", true, 1},
		"later version, same length":      {"cc-" + traceHex + "-" + spanHex + "-01", true, 1},
		"later version, more after dash":  {"cc-" + traceHex + "-" + spanHex + "-01-what", true, 1},
		"later version, more, no dash":    {"cc-" + traceHex + "-" + spanHex + "-01.what", false, 0},
		"version 00 with more":            {sampled + "-what", false, 0},
		"version ff":                      {"ff-" + traceHex + "-" + spanHex + "-01", false, 0},
		"zero trace id":                   {"00-" + strings.Repeat("0", 32) + "-" + spanHex + "-01", false, 0},
		"zero span id":                    {"00-" + traceHex + "-" + strings.Repeat("0", 16) + "-01", false, 0},
		"upper case trace id":             {"00-" + strings.ToUpper(traceHex) + "-" + spanHex + "-01", false, 0},
		"upper case flags":                {"00-" + traceHex + "-" + spanHex + "-0A", false, 0},
		"not hex":                         {"00-" + traceHex[:31] + "g-" + spanHex + "-01", false, 0},
		"dash elsewhere":                  {"00_" + traceHex + "-" + spanHex + "-01", false, 0},
		"short":                           {sampled[:54], false, 0},
		"empty":                           {"", false, 0},
		"leading space":                   {" " + sampled, false, 0},
		"version is not hex":              {"0x-" + traceHex + "-" + spanHex + "-01", false, 0},
		"later version, trailing dash":    {"01-" + traceHex + "-" + spanHex + "-01-", true, 1},
		"later version, zero ids refused": {"01-" + strings.Repeat("0", 32) + "-" + spanHex + "-01", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, ok := parseParent(c.in)
			if ok != c.ok || ok && p.flags != c.flags {
				t.Fatalf("%q: ok %v flags %x, want %v %x", c.in, ok, p.flags, c.ok, c.flags)
			}
			if ok && (fmt.Sprintf("%x", p.trace) != traceHex || fmt.Sprintf("%x", p.span) != spanHex) {
				t.Fatalf("%q: ids %x %x", c.in, p.trace, p.span)
			}
		})
	}
}

func TestTracestate(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("k%d=v", i)
	}
	long := "long=" + strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		in      []string
		carried string
		memory  string
	}{
		"as it came":                {[]string{"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"}, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", ""},
		"white space goes":          {[]string{"a=1 , b=2\t,  c=3"}, "a=1,b=2,c=3", ""},
		"lines are joined":          {[]string{"a=1", "b=2", "c=3"}, "a=1,b=2,c=3", ""},
		"empty members go":          {[]string{"a=1,,b=2,"}, "a=1,b=2", ""},
		"invalid members go":        {[]string{"A=1,a=1,=2,b,c=,d=x=y,e=\x7f,-f=1,g=1"}, "a=1,g=1", ""},
		"tenant and digit keys":     {[]string{"0tenant@sys=1,1a=2"}, "0tenant@sys=1,1a=2", ""},
		"the latest of a key stays": {[]string{"a=1,b=2,a=3"}, "a=1,b=2", ""},
		"our member is taken out":   {[]string{"a=1,lintel=beef,b=2"}, "a=1,b=2", "beef"},
		"our member alone":          {[]string{"lintel=beef"}, "", "beef"},
		"the first of ours counts":  {[]string{"lintel=beef", "lintel=dead"}, "", "beef"},
		"ours too long is nothing":  {[]string{"lintel=" + strings.Repeat("a", 65)}, "", ""},
		"32 members stay":           {[]string{strings.Join(many, ",")}, strings.Join(many[:32], ","), ""},
		"long members go first":     {[]string{"a=1," + long + ",b=" + strings.Repeat("y", 120) + ",c=" + strings.Repeat("z", 120) + ",d=" + strings.Repeat("w", 120)}, "a=1,b=" + strings.Repeat("y", 120) + ",c=" + strings.Repeat("z", 120) + ",d=" + strings.Repeat("w", 120), ""},
		"then the last go":          {[]string{"a=" + strings.Repeat("1", 125) + ",b=" + strings.Repeat("2", 125) + ",c=" + strings.Repeat("3", 125) + ",d=" + strings.Repeat("4", 125) + ",e=" + strings.Repeat("5", 125)}, "a=" + strings.Repeat("1", 125) + ",b=" + strings.Repeat("2", 125) + ",c=" + strings.Repeat("3", 125) + ",d=" + strings.Repeat("4", 125), ""},
		"none":                      {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var h exchange.Fields
			for _, v := range c.in {
				h.Add("TraceState", v)
			}
			got := readState(&h)
			if got.carried != c.carried || got.memory != c.memory {
				t.Fatalf("got %q memory %q\nwant %q memory %q", got.carried, got.memory, c.carried, c.memory)
			}
		})
	}
}

func TestMemoryComesFirstWithinLimits(t *testing.T) {
	members := make([]string, 32)
	for i := range members {
		members[i] = fmt.Sprintf("k%d=%s", i, strings.Repeat("v", 20))
	}
	got := withMemory(strings.Join(members, ","), strings.Repeat("a", 32))
	if !strings.HasPrefix(got, "lintel="+strings.Repeat("a", 32)+",k0=") {
		t.Fatalf("our member is not first: %q", got)
	}
	if len(got) > stateBytes || strings.Count(got, ",") >= stateMembers {
		t.Fatalf("%d bytes, %d members", len(got), 1+strings.Count(got, ","))
	}
	if got := withMemory("", "ab"); got != "lintel=ab" {
		t.Fatalf("alone: %q", got)
	}
}

func TestBaggageIsCutAtTheLimits(t *testing.T) {
	var small, many, big exchange.Fields
	small.Add("baggage", "a=1 ;p, b=2")
	small.Add("Baggage", "c=3")
	limitBaggage(&small)
	if small.Len() != 2 || small.At(0).Value != "a=1 ;p, b=2" {
		t.Fatalf("baggage within the limits was changed: %v", small)
	}
	for i := range 70 {
		many.Add("baggage", fmt.Sprintf("k%d=v", i))
	}
	limitBaggage(&many)
	if n := strings.Count(many.Get("baggage"), "=") * many.Count("baggage"); n != baggageMembers {
		t.Fatalf("%d members are left", n)
	}
	big.Add("baggage", "a=1,b="+strings.Repeat("x", 9000)+",c=3")
	limitBaggage(&big)
	if got := big.Get("baggage"); got != "a=1,c=3" {
		t.Fatalf("got %.60q", got)
	}
	var only exchange.Fields
	only.Add("baggage", "b="+strings.Repeat("x", 9000))
	limitBaggage(&only)
	if only.Len() != 0 {
		t.Fatal("a member that does not fit stayed")
	}
}

func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{sampled, "ff-" + sampled[3:], "cc-" + sampled[3:] + "-x", "", strings.ToUpper(sampled)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parseParent(s)
		if !ok {
			return
		}
		if p.trace == [16]byte{} || p.span == [8]byte{} || strings.HasPrefix(s, "ff") {
			t.Fatalf("%q was taken", s)
		}
		tr := exchange.Trace{ID: p.trace, Span: p.span, Sampled: p.flags&flagSampled != 0, Random: p.flags&flagRandom != 0}
		again, ok := parseParent(string(appendParent(nil, &tr)))
		if !ok || again != p {
			t.Fatalf("%q became %+v", s, again)
		}
	})
}

func FuzzTracestate(f *testing.F) {
	f.Add("a=1,b=2", "c=3")
	f.Add("lintel=beef, a=1 ,,", "a=2")
	f.Add("k="+strings.Repeat("x", 256), strings.Repeat("a=1,", 40))
	f.Add("x=\x00", "=")
	f.Fuzz(func(t *testing.T, one, two string) {
		var h exchange.Fields
		h.Add("tracestate", one)
		h.Add("tracestate", two)
		got := readState(&h)
		checkState(t, got.carried)
		var alone exchange.Fields
		alone.Add("tracestate", got.carried)
		if again := readState(&alone); again.carried != got.carried || again.memory != "" {
			t.Fatalf("not stable: %q then %q", got.carried, again.carried)
		}
		checkState(t, withMemory(got.carried, strings.Repeat("a", 32)))
	})
}

// checkState is the grammar once more, told differently.
func checkState(t *testing.T, s string) {
	t.Helper()
	if s == "" {
		return
	}
	if len(s) > stateBytes {
		t.Fatalf("%d bytes", len(s))
	}
	seen := map[string]bool{}
	for _, m := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(m, "=")
		if !ok || k == "" || v == "" || seen[k] || strings.ContainsAny(v, "=\r\n\x00") || strings.HasSuffix(v, " ") {
			t.Fatalf("member %q of %q", m, s)
		}
		seen[k] = true
	}
	if len(seen) > stateMembers {
		t.Fatalf("%d members", len(seen))
	}
}

func FuzzBaggage(f *testing.F) {
	f.Add("a=1,b=2", "c=3")
	f.Add(strings.Repeat("a=1,", 80), strings.Repeat("x", 8200))
	f.Fuzz(func(t *testing.T, one, two string) {
		var h exchange.Fields
		h.Add("baggage", one)
		h.Add("baggage", two)
		limitBaggage(&h)
		if all := h.Joined("baggage"); len(all) > baggageBytes+1 || strings.Count(all, ",") >= baggageMembers {
			t.Fatalf("%d bytes, %d commas", len(all), strings.Count(all, ","))
		}
	})
}
