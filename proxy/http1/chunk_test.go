package http1

import (
	"errors"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// dechunk decodes in, given in pieces of at most step bytes with room for room
// bytes of data.
func dechunk(in string, step, room int) (data, rest string, done bool, err error) {
	var d chunkDecoder
	var out []byte
	dst := make([]byte, room)
	for at := 0; ; {
		src := []byte(in[at:min(at+step, len(in))])
		used, n, done, err := d.decode(src, dst)
		out = append(out, dst[:n]...)
		at += used
		if err != nil || done || used == 0 && n == 0 {
			return string(out), in[at:], done, err
		}
	}
}

func TestDecodeChunks(t *testing.T) {
	for _, c := range []struct{ in, data, rest string }{
		{"0\r\n\r\n", "", "\r\n"},
		{"5\r\nhello\r\n0\r\nX: y\r\n\r\nGET", "hello", "X: y\r\n\r\nGET"},
		{"5\r\nhello\r\n6\r\n world\r\n0\r\n", "hello world", ""},
		{"A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n", "01234567890123456789", ""},
		{"0000000000000001\r\nx\r\n0000000000000000\r\n", "x", ""},
		{"1;a\r\nx\r\n0;b=c;d=\"e;\\\"f\"\r\n", "x", ""},
		{"1;a=\"\"\r\nx\r\n0;a=b\r\n", "x", ""},
		{"1;a=\"\t \xff\\\t\"\r\nx\r\n0\r\n", "x", ""},
		{"4\r\n\r\n\r\n\r\n0\r\n", "\r\n\r\n", ""},
	} {
		for step := 1; step <= len(c.in); step++ {
			for _, room := range []int{1, 3, 100} {
				data, rest, done, err := dechunk(c.in, step, room)
				if data != c.data || rest != c.rest || !done || err != nil {
					t.Fatalf("%q by %d into %d: %q, rest %q, done %v, %v", c.in, step, room, data, rest, done, err)
				}
			}
		}
	}
}

func TestMalformedChunks(t *testing.T) {
	long := strings.Repeat("e", maxChunkExt)
	for in, want := range map[string]error{
		"\r\n": errChunkSize, "x\r\n": errChunkSize, " 5\r\n": errChunkSize, "5 \r\n": errChunkSize, "5\t\r\n": errChunkSize, "+5\r\n": errChunkSize, "-5\r\n": errChunkSize,
		"0x5\r\n": errChunkSize, "5_0\r\n": errChunkSize, "5,\r\n": errChunkSize, "5.0\r\n": errChunkSize, ";a\r\n": errChunkSize, "5 ;a\r\n": errChunkSize, "\n": errChunkSize, "5\n": errChunkSize,
		"00000000000000001\r\n": errChunkSize, "8000000000000000\r\n": errChunkSize, "FFFFFFFFFFFFFFFF\r\n": errChunkSize, "10000000000000005\r\n": errChunkSize, "5\x00\r\n": errChunkSize,
		"5\rhello": errChunkLine, "5\r\r\nhello": errChunkLine, "5;a\rhello": errChunkLine,
		"5;\r\n": errChunkExt, "5;;a\r\n": errChunkExt, "5;a=\r\n": errChunkExt, "5;=a\r\n": errChunkExt, "5; a\r\n": errChunkExt, "5;a =b\r\n": errChunkExt, "5;a= b\r\n": errChunkExt, "5;a \r\n": errChunkExt,
		"5;a\n": errChunkExt, "5;a=\"b\n": errChunkExt, "5;a=\"b\r\n": errChunkExt, "5;a=\"\\\n": errChunkExt, "5;a=\"b\"c\r\n": errChunkExt, "5;a=b\"c\"\r\n": errChunkExt, "5;a=b=c\r\n": errChunkExt, "5;a\x00\r\n": errChunkExt, "5;a\xff\r\n": errChunkExt, "5;a=\"\x7f\"\r\n": errChunkExt,
		"5\r\nhello0\r\n": errChunkData, "5\r\nhello\n0\r\n": errChunkData, "5\r\nhello\r0\r\n": errChunkData, "5\r\nhello \r\n": errChunkData, "1\r\nxy\r\n": errChunkData,
		"5;" + long + "\r\n": errChunkExts,
		strings.Repeat("1;"+long[:maxChunkExt-1]+"\r\nx\r\n", 16) + "1;e\r\n": errChunkExts,
	} {
		for _, step := range []int{1, 2, len(in)} {
			if data, _, done, err := dechunk(in, step, 10); done || !errors.Is(err, want) {
				t.Errorf("%.40q by %d: %q, done %v, %v", in, step, data, done, err)
			}
		}
	}
}

// Data may be read from the connection straight to where it is wanted.
func TestDataReadPastTheDecoder(t *testing.T) {
	var d chunkDecoder
	if n, data := d.remaining(); n != 0 || data {
		t.Fatal(n, data)
	}
	dst := make([]byte, 4)
	if _, n, _, err := d.decode([]byte("a\r\n0123"), dst); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if n, data := d.remaining(); n != 6 || !data {
		t.Fatal(n, data)
	}
	d.took(2)
	d.took(4)
	if n, data := d.remaining(); n != 0 || data {
		t.Fatal(n, data)
	}
	if used, n, done, err := d.decode([]byte("\r\n0\r\n\r\n"), nil); used != 5 || n != 0 || !done || err != nil {
		t.Fatal(used, n, done, err)
	}
	if used, _, done, _ := d.decode([]byte("\r\n"), dst); used != 0 || !done {
		t.Error("it reads into the trailer section")
	}
	d.reset()
	if _, n, _, _ := d.decode([]byte("1\r\nx"), dst); n != 1 {
		t.Error("it cannot be used again")
	}
}

func TestParseTrailer(t *testing.T) {
	for _, c := range []struct {
		in, fields string
		used       int
		done       bool
		bad        bool
	}{
		{"", "", 0, false, false},
		{"\r", "", 0, false, false},
		{"\r\nGET", "", 2, true, false},
		{"X: y\r\n", "", 0, false, false},
		{"X: y\r\n\r", "", 0, false, false},
		{"X: y\r\n\r\nGET", "X=y;", 8, true, false},
		{"Grpc-Status: 0\r\nX-Sum:\ta \r\n\r\n", "Grpc-Status=0;X-Sum=a;", 29, true, false},
		{"Content-Length: 5\r\ntransfer_encoding: chunked\r\nHost: b\r\nX: y\r\nAuthorization: z\r\nIf-None-Match: *\r\nX-Forwarded-For: 1\r\n\r\n", "X=y;", 120, true, false},
		{"X: y\n\n", "", 0, false, true},
		{"\n", "", 0, false, true},
		{" X: y\r\n\r\n", "", 0, false, true},
		{"X : y\r\n\r\n", "", 0, false, true},
		{"X: y\r\n z\r\n\r\n", "", 0, false, true},
		{"X: y\x00\r\n\r\n", "", 0, false, true},
		{"X\r\n\r\n", "", 0, false, true},
		{"\rX: y\r\n\r\n", "", 0, false, true},
		{strings.Repeat("X: y\r\n", 4) + "\r\n", "", 0, false, true},
		{"X: " + strings.Repeat("y", 200) + "\r\n\r\n", "", 0, false, true},
		{"X: " + strings.Repeat("y", 200), "", 0, false, true},
	} {
		var f exchange.Fields
		used, done, err := parseTrailer([]byte(c.in), limits{bytes: 130, count: 3 + 5*btoi(c.used == 120)}, &f)
		if used != c.used || done != c.done || (err != nil) != c.bad || !c.bad && lines(&f) != c.fields {
			t.Errorf("%.60q: used %d, done %v, %v, %s", c.in, used, done, err, lines(&f))
		}
		var coded *codecError
		if err != nil && !errors.As(err, &coded) {
			t.Errorf("%.60q: %T", c.in, err)
		}
	}
}

func TestMayTrail(t *testing.T) {
	for name, want := range map[string]bool{"Grpc-Status": true, "Server-Timing": true, "Digest": true, "ETag": true, "X-Sum": true, "Expires-At": true,
		"Host": false, "Content-Length": false, "content_type": false, "TE": false, "Trailer": false, "Set-Cookie": false, "Cookie": false, "Proxy-Authorization": false,
		"X.Forwarded.Host": false, "If-Match": false, "Range": false, "Cache-Control": false, "Traceparent": false} {
		if exchange.MayTrail(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
