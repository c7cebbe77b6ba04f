package mux

import (
	"bytes"
	"testing"
)

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		b    [headerSize]byte
		fine bool
	}{
		{"data", [8]byte{1, 0, 0, 5, 0, 0, 0, 1}, true},
		{"data, the most", [8]byte{1, 0, 0x3f, 0xf8, 0, 0, 0, 1}, true},
		{"data and end", [8]byte{1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff}, true},
		{"data, too much", [8]byte{1, 0, 0x3f, 0xf9, 0, 0, 0, 1}, false},
		{"window", [8]byte{2, 0, 0, 4, 0, 0, 0, 1}, true},
		{"window of eight bytes", [8]byte{2, 0, 0, 8, 0, 0, 0, 1}, false},
		{"window without a number", [8]byte{2, 0, 0, 0, 0, 0, 0, 1}, false},
		{"reset", [8]byte{3, 0, 0, 4, 0, 0, 0, 3}, true},
		{"reset and end", [8]byte{3, 1, 0, 4, 0, 0, 0, 3}, false},
		{"goaway", [8]byte{4, 0, 0, 4, 0, 0, 0, 0}, true},
		{"goaway on a stream", [8]byte{4, 0, 0, 4, 0, 0, 0, 1}, false},
		{"no type", [8]byte{0, 0, 0, 4, 0, 0, 0, 1}, false},
		{"unknown type", [8]byte{5, 0, 0, 4, 0, 0, 0, 1}, false},
		{"unknown flag", [8]byte{1, 2, 0, 4, 0, 0, 0, 1}, false},
		{"known and unknown flag", [8]byte{1, 3, 0, 4, 0, 0, 0, 1}, false},
		{"no stream", [8]byte{1, 0, 0, 4, 0, 0, 0, 0}, false},
		{"even stream", [8]byte{1, 0, 0, 4, 0, 0, 0, 2}, false},
	} {
		h, err := parseHeader(&c.b)
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := h.bytes(); c.fine && got != c.b {
			t.Errorf("%s: written as %v", c.name, got)
		}
	}
}

func TestStore(t *testing.T) {
	var s store
	var want []byte
	for i := range 200 { // three quarters of a piece at a time
		p := bytes.Repeat([]byte{byte(i)}, frameMost*3/4)
		s.write(p)
		want = append(want, p...)
		if i%3 > 0 {
			got := make([]byte, frameMost+i)
			n := s.read(got)
			if !bytes.Equal(got[:n], want[:n]) {
				t.Fatal("what comes out is not what went in")
			}
			want = want[n:]
		}
		if s.n != len(want) {
			t.Fatalf("%d bytes are said to be there, there are %d", s.n, len(want))
		}
	}
	s.clear()
	if s.n != 0 || s.head != nil || s.tail != nil {
		t.Error("an empty store holds memory")
	}
}
