package http1

import (
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestHeadEnd(t *testing.T) {
	for _, c := range []struct {
		in  string
		end int
		bad bool
	}{
		{"", 0, false},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", 27, false},
		{"GET / HTTP/1.1\r\n\r\n", 18, false},
		{"GET / HTTP/1.1\r\nHost: a\r\n", 0, false},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r", 0, false},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", 0, false}, // a CR alone is for the parser to refuse
		{"\r\n", 2, false},
		{"\n", 0, true},
		{"GET / HTTP/1.1\nHost: a\n\n", 0, true},
		{"GET / HTTP/1.1\r\nHost: a\n\r\n", 0, true},
		{"GET / HTTP/1.1\r\nHost: a\r\n\n", 0, true},
		{"\x16\x03\x01\x02\x00\x01", 0, true},
		{" GET / HTTP/1.1\r\n\r\n", 0, true},
		{"\x00", 0, true},
	} {
		end, _, bad := headEnd([]byte(c.in), 0)
		if end != c.end || bad != c.bad {
			t.Errorf("%q: end %d, bad %v", c.in, end, bad)
		}
		if end, bad := trickled(c.in); end != c.end || bad != c.bad {
			t.Errorf("%q, byte by byte: end %d, bad %v", c.in, end, bad)
		}
	}
}

// trickled looks for the end of a head that comes one byte at a time.
func trickled(in string) (end int, bad bool) {
	from := 0
	for n := 1; n <= len(in); n++ {
		end, next, bad := headEnd([]byte(in[:n]), from)
		if end > 0 || bad {
			return end, bad
		}
		from = next
	}
	return 0, false
}

// What has been looked at is not looked at again: the cost of a head does not
// grow with the number of pieces it comes in.
func TestHeadEndGoesOnWhereItStopped(t *testing.T) {
	b := []byte("GET / HTTP/1.1\r\nHost: a\r")
	_, next, _ := headEnd(b, 0)
	if next != len(b) {
		t.Fatalf("goes on at %d of %d", next, len(b))
	}
	b = append(b, "\n\r\n"...)
	b[3] = '\n' // looked at already: it must not be seen again
	if end, _, bad := headEnd(b, next); end != len(b) || bad {
		t.Errorf("end %d, bad %v", end, bad)
	}
}

func TestSkipEmptyLine(t *testing.T) {
	for in, want := range map[string]int{"": 0, "\r": 0, "\r\n": 2, "\r\n\r\n": 2, "GET": 0, "\n": 0, "\rX": 0} {
		if got := skipEmptyLine([]byte(in)); got != want {
			t.Errorf("%q: %d", in, got)
		}
	}
}

func TestFieldLine(t *testing.T) {
	long := strings.Repeat("v", 100)
	for _, c := range []struct{ in, name, value, bad string }{
		{"A: b\r\n", "A", "b", ""},
		{"A:b\r\n", "A", "b", ""},
		{"A:\r\n", "A", "", ""},
		{"A: \t \r\n", "A", "", ""},
		{"A: \tb c\t \r\n", "A", "b c", ""},
		{"x-LONG: " + long + "\tw\xff\r\n", "x-LONG", long + "\tw\xff", ""},
		{"!#$%&'*+-.^_`|~09: b:c\r\n", "!#$%&'*+-.^_`|~09", "b:c", ""},
		{"A : b\r\n", "", "", lineSpace},
		{"A\t: b\r\n", "", "", lineSpace},
		{" A: b\r\n", "", "", lineFolded},
		{"\tA: b\r\n", "", "", lineFolded},
		{": b\r\n", "", "", lineNameless},
		{"A\r\n", "", "", lineName},
		{"A b: c\r\n", "", "", lineName},
		{"A(b: c\r\n", "", "", lineName},
		{"\xc3\x84: c\r\n", "", "", lineName},
		{"A\x00: c\r\n", "", "", lineName},
		{"A: b\rc\r\n", "A", "", lineCut},
		{"A: b\r\rc\r\n", "A", "", lineCut},
		{"A: b\nc\r\n", "A", "", lineControl},
		{"A: b\x00c\r\n", "A", "", lineControl},
		{"A: b\x0bc\r\n", "A", "", lineControl},
		{"A: b\x0cc\r\n", "A", "", lineControl},
		{"A: b\x7fc\r\n", "A", "", lineControl},
		{"A: b\x1f\r\n", "A", "", lineControl},
	} {
		b := []byte(c.in + "\r\n")
		name, value, next, bad := fieldLine(b, string(b), 0)
		if name != c.name || value != c.value || bad != c.bad || bad == "" && next != len(c.in) {
			t.Errorf("%q: name %q, value %q, next %d, bad %q", c.in, name, value, next, bad)
		}
	}
}

// The scanners look at eight bytes at a time: every byte at every place.
func TestScannersSeeEveryByteAtEveryPlace(t *testing.T) {
	for size := range 34 {
		for at := range size {
			for c := range 256 {
				b := []byte(strings.Repeat("\xffx \x80~"[c%5:c%5+1], size))
				base := append([]byte(nil), b...)
				b[at] = byte(c)
				control := c < 0x20 || c == 0x7f
				want := len(b)
				if control {
					want = at
				}
				if got := controlByte(b, 0); got != want {
					t.Fatalf("controlByte(%q) = %d", b, got)
				}
				if got := isValue(string(b)); got != (!control || c == '\t') {
					t.Fatalf("isValue(%q) = %v", b, got)
				}
				for i, v := range base {
					if v == 0xff || v == 0x80 || v == ' ' {
						b[i] = 'x'
					}
				}
				b[at] = byte(c)
				want = len(b)
				if c <= 0x20 || c >= 0x7f {
					want = at
				}
				if got := targetEnd(b, 0); got != want {
					t.Fatalf("targetEnd(%q) = %d", b, got)
				}
			}
		}
	}
}

func TestNextMember(t *testing.T) {
	var got []string
	list, more := " a ,,b\t, c d ,", true
	for more {
		var m string
		m, list, more = nextMember(list)
		got = append(got, m)
	}
	if s := fmt.Sprintf("%q", got); s != `["a" "" "b" "c d" ""]` {
		t.Error(s)
	}
}

func lines(f *exchange.Fields) string {
	var b strings.Builder
	for n, v := range f.All() {
		fmt.Fprintf(&b, "%s=%s;", n, v)
	}
	return b.String()
}
