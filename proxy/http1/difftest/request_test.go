package difftest

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/smuggling"
)

// FuzzSameAsReference: whatever http1 takes from a client and passes on, the
// reference takes too and passes on the same: method, target, Host, fields,
// body, trailer. It may pass on less, for a reason that is written down.
func FuzzSameAsReference(f *testing.F) {
	for _, c := range smuggling.Cases() {
		f.Add([]byte(c.Bytes), uint8(0))
	}
	for i, s := range requestSeeds {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1+i%7))
	}
	behindOurs, behindReference := newService(f), newService(f) // they end when nobody is connected any more
	ours, reference := pair(f)
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		if len(in) > 32<<10 {
			return // beyond the head limit nothing new happens, slowly
		}
		ours.at(behindOurs.address)
		reference.at(behindReference.address)
		theirs := make(chan []byte, 1)
		go func() { theirs <- reference.ask(t, in, int(step)) }()
		answers := ours.ask(t, in, int(step))
		<-theirs
		got, broken := behindOurs.take()
		want, _ := behindReference.take() // what it breaks itself is not for us to judge
		if len(broken) > 0 {
			t.Fatalf("%q\nreached the service as what nobody can read: %q", in, broken)
		}
		faults, _ := ours.seen()
		checkAnswers(t, in, answers, got, faults, ours.asked())
		for i := range got {
			if i >= len(want) {
				refusals, _ := reference.seen()
				if why := referenceIsStricter(got[i], in, refusals); why == "" {
					t.Fatalf("%q\nwe passed on %+v, the reference did not: %+v", in, got[i], refusals)
				}
				return
			}
			if what := differs(got[i], want[i]); what != "" {
				t.Fatalf("%q\nrequest %d, %s: we passed on\n%+v\nthe reference\n%+v", in, i, what, got[i], want[i])
			}
		}
		if len(want) > len(got) && !weAreStricter(faults) {
			t.Fatalf("%q\nwe passed on %d requests, the reference %d, and our refusal %+v is not among the reasons", in, len(got), len(want), faults)
		}
	})
}

// checkAnswers: as many answers as requests, then at most one refusal, and
// nothing after it.
func checkAnswers(t *testing.T, in, out []byte, got []request, faults []exchange.Fault, methods []string) {
	t.Helper()
	if len(faults) > 1 {
		t.Fatalf("%q\nafter a refusal the connection went on: %+v", in, faults)
	}
	br := bufio.NewReader(bytes.NewReader(out))
	n, refused := 0, false
	for {
		if _, err := br.Peek(1); err == io.EOF {
			break
		}
		method := "GET"
		if n < len(methods) {
			method = methods[n]
		}
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q\nis answered with %q: %v", in, out, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatalf("%q\nis answered with %q: %v", in, out, err)
		}
		switch {
		case refused:
			t.Fatalf("%q\nis answered after its refusal: %q", in, out)
		case res.StatusCode < 200:
		case res.StatusCode == 200:
			n++
		default:
			refused = true
			if !res.Close {
				t.Fatalf("%q\nis refused, and the connection goes on: %q", in, out)
			}
		}
	}
	if n != len(got) || refused != (len(faults) == 1) {
		t.Fatalf("%q\n%d requests arrived and %+v was refused, but the answers are %q", in, len(got), faults, out)
	}
}

// differs says in what, "" if in nothing that matters.
func differs(ours, reference request) string {
	switch {
	case ours.method != reference.method:
		return "the method"
	case ours.target != reference.target && !(ours.method == "OPTIONS" && ours.target == "*"):
		// Not "*": "OPTIONS http://a.example" is "OPTIONS *" (RFC 9112 section
		// 3.2.4), to net/http it is "OPTIONS /".
		return "the target"
	case ours.host != reference.host && ours.host != noHost:
		return "the host"
	case ours.body != reference.body:
		return "the body"
	case !slices.Equal(without(ours.fields, fieldReasons), without(reference.fields, fieldReasons)):
		return "the fields"
	case !slices.Equal(ours.trailer, without(reference.trailer, trailerReasons)):
		return "the trailer"
	}
	return ""
}

// without takes out the lines for which there is a reason to differ.
func without(lines []string, reasons []reason) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return slices.ContainsFunc(reasons, func(r reason) bool { return r.matches(name) })
	})
}

func weAreStricter(faults []exchange.Fault) bool {
	return len(faults) == 1 && slices.ContainsFunc(refusals, func(r reason) bool {
		return r.matches(faults[0].Code + ": " + faults[0].Detail)
	})
}

// referenceIsStricter is why the reference did not pass on what we did.
func referenceIsStricter(r request, in []byte, refused []exchange.Fault) string {
	for _, s := range stricter {
		if s.applies(r, in, refused) {
			return s.why
		}
	}
	return ""
}

const head = "Host: a.example\r\n"

var requestSeeds = []string{
	"GET / HTTP/1.1\r\n" + head + "\r\n",
	"GET / HTTP/1.1\r\n" + head + "\r\nGET /2 HTTP/1.1\r\n" + head + "\r\nHEAD /3 HTTP/1.1\r\n" + head + "\r\n",
	"GET /a%2Fb?x=%2F&y#z HTTP/1.1\r\n" + head + "\r\n",
	"GET http://b.example/a?q HTTP/1.1\r\n" + head + "\r\n",
	"GET https://b.example:8443?q HTTP/1.1\r\n" + head + "\r\n",
	"OPTIONS * HTTP/1.1\r\n" + head + "\r\n",
	"OPTIONS http://b.example HTTP/1.1\r\n" + head + "\r\n",
	"GET //a/b/../c HTTP/1.1\r\n" + head + "\r\n",
	"GET /%zz HTTP/1.1\r\n" + head + "\r\n",
	"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.0\r\n" + head + "Connection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n" + head + "\r\n",
	"POST / HTTP/1.0\r\n" + head + "Content-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\n" + head + "Content-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n" + head + "\r\n",
	"POST / HTTP/1.1\r\n" + head + "Content-Length: 6\r\n\r\nhello",
	"POST / HTTP/1.1\r\n" + head + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\n" + head + "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
	"PUT / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\\\"e\"\r\nhello\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + head + "\r\n",
	"PUT / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-More\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\nAuthorization: x\r\nContent-Length: 5\r\nX-Unsaid: 3\r\n\r\n",
	"PUT / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	"PUT / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
	"GET / HTTP/1.1\r\n" + head + "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-A: b\r\nx-a: c\r\n\r\n",
	"GET / HTTP/1.1\r\n" + head + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
	"GET / HTTP/1.1\r\n" + head + "X-Empty:\r\nX-Tab: a\tb\r\nX-Obs: \xe4\xff\r\nUser-Agent: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
	"GET / HTTP/1.1\r\n" + head + "User-Agent:\r\nAccept-Encoding: gzip\r\nReferer: x\r\nPragma: no-cache\r\n\r\n",
	"GET / HTTP/1.1\n" + "Host: a\n\n",
	"\r\n\r\nGET / HTTP/1.1\r\n" + head + "\r\n",
	"POST / HTTP/1.1\r\n" + head + "Content-Length: 1\r\n\r\nx\r\n\r\nGET /2 HTTP/1.1\r\n" + head + "\r\n",
	"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a_b.example:99999\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"GET / HTTP/1.1\r\n" + head + "X-Long: " + strings.Repeat("v", 9000) + "\r\n\r\n",
	"POST / HTTP/1.1\r\n" + head + "Content-Length: 20000\r\n\r\n" + strings.Repeat("b", 20000) + "GET /2 HTTP/1.1\r\n" + head + "\r\n",
	"POST / HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + strings.Repeat("b", 20000) + "\r\n0\r\nX-T: 1\r\n\r\nGET /2 HTTP/1.1\r\n" + head + "\r\n",
	"GET / HTTP/1.1\r\n" + head + strings.Repeat("X: y\r\n", 200) + "\r\n",
}
