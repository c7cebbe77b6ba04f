package difftest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// FuzzSameAnswer: whatever http1 takes from a service and passes on, the
// reference takes too, and the client sees the same: interim answers, status,
// fields, content, and whether that is complete.
func FuzzSameAnswer(f *testing.F) {
	for i, s := range answerSeeds {
		f.Add([]byte(s), uint8(0), uint8(0))
		f.Add([]byte(s), uint8(1), uint8(0))
		f.Add([]byte(s), uint8(2), uint8(1+i%7))
	}
	saysOurs, saysReference := newSpeaker(f), newSpeaker(f)
	ours, reference := pair(f)
	f.Fuzz(func(t *testing.T, answer []byte, method, step uint8) {
		if len(answer) > 32<<10 {
			return
		}
		in := answered[int(method)%len(answered)]
		ask := func(p *proxy, s *speaker) *visible {
			s.says(answer, int(step))
			p.at(s.address)
			out := p.ask(t, []byte(in), 0)
			p.transport.Retire(s.address)
			return look(t, p, out, in[:strings.Index(in, " ")])
		}
		want, got := ask(reference, saysReference), ask(ours, saysOurs)
		switch {
		case got.err != "":
			t.Fatalf("%q\nbecomes what no client can read (%s): %q", answer, got.err, got.raw)
		case got.fault != "" && want.fault == "" && want.err == "":
			if !slices.ContainsFunc(refusedAnswers, func(r reason) bool { return r.matches(got.fault) }) {
				t.Fatalf("%q\nthe reference passes on as %+v, we do not, and %q is not among the reasons", answer, want, got.fault)
			}
		case got.fault == "" && (want.fault != "" || want.err != ""):
			for _, s := range stricterAnswers {
				if s.applies(answer, want) {
					return
				}
			}
			t.Fatalf("%q\nwe pass on as %+v, the reference does not: %q %q", answer, got, want.fault, want.err)
		case got.fault == "":
			if what := differ(got, want, answer); what != "" && !slices.ContainsFunc(brokenAnswers, func(r reason) bool { return r.matches(got.broke) }) {
				t.Fatalf("%q\n%s: the client sees\n%+v\nwith the reference\n%+v", answer, what, got, want)
			}
		}
	})
}

var answered = []string{
	"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
	"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
	"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
}

// visible is an answer as a client sees it.
type visible struct {
	interim  []string
	status   int
	fields   []string
	trailer  []string
	body     string
	complete bool
	broke    string // why it is not

	fault string // the proxy's own answer: "code: detail"
	err   string // no client can read it
	raw   string
}

func look(t *testing.T, p *proxy, out []byte, method string) *visible {
	t.Helper()
	faults, aborts := p.seen()
	v := &visible{raw: string(out), complete: len(aborts) == 0, broke: strings.Join(aborts, "; ")}
	if len(faults) > 0 {
		v.fault = faults[0].Code + ": " + faults[0].Detail
	}
	br := bufio.NewReader(bytes.NewReader(out))
	for {
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			v.err = err.Error()
			return v
		}
		fields := lines(res.Header)
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			v.interim = append(v.interim, strconv.Itoa(res.StatusCode)+" "+strings.Join(fields, ", "))
			continue
		}
		body, err := io.ReadAll(res.Body)
		v.status, v.fields, v.body = res.StatusCode, fields, string(body)
		if err == nil {
			v.trailer = without(lines(res.Trailer), trailerReasons)
		} else if v.complete {
			v.err = err.Error()
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			v.err = "followed by " + string(rest)
		}
		return v
	}
}

func lines(h http.Header) (l []string) {
	for name, values := range h {
		for _, v := range values {
			l = append(l, strings.ToLower(name)+": "+v)
		}
	}
	slices.Sort(l)
	return without(l, answerFieldReasons)
}

func differ(ours, reference *visible, answer []byte) string {
	switch {
	case !slices.Equal(ours.interim, reference.interim):
		return "interim answers"
	case ours.status != reference.status:
		return "the status"
	case ours.complete != reference.complete:
		return "whether it is complete"
	case !slices.Equal(ours.fields, reference.fields) && !nominatedWithClose(ours.fields, reference.fields, answer):
		return "the fields"
	case ours.body != reference.body && ours.complete:
		return "the content"
	case !slices.Equal(ours.trailer, reference.trailer):
		return "the trailer"
	}
	return ""
}

// speaker is a service that says the same whatever it is asked, and then ends
// its half.
type speaker struct {
	address string
	mu      sync.Mutex
	answer  []byte
	step    int
}

func newSpeaker(t testing.TB) *speaker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{address: l.Addr().String()}
	var running sync.WaitGroup
	running.Add(1)
	go func() {
		defer running.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Add(1)
			go func() { defer running.Done(); s.serve(c.(*net.TCPConn)) }()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return s
}

func (s *speaker) says(answer []byte, step int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.step = answer, step
}

func (s *speaker) serve(c *net.TCPConn) {
	defer c.Close()
	br := bufio.NewReader(c)
	if _, err := readRequest(br, io.Discard); err != nil {
		return
	}
	s.mu.Lock()
	answer, step := s.answer, s.step
	s.mu.Unlock()
	if step > 0 && len(answer) > step {
		_, _ = c.Write(answer[:step])
		answer = answer[step:]
	}
	_, _ = c.Write(answer)
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, br) // no reset before the other side has read it
}

const ok = "HTTP/1.1 200 OK\r\n"

var answerSeeds = []string{
	ok + "Content-Length: 5\r\n\r\nhello",
	ok + "Content-Length: 5\r\n\r\nhell",
	ok + "Content-Length: 5\r\n\r\nhello, and more",
	ok + "Content-Length: 0\r\n\r\n",
	ok + "\r\nuntil the end",
	ok + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
	ok + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Unsaid: 2\r\nSet-Cookie: a=b\r\n\r\n",
	ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
	ok + "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
	ok + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
	ok + "Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
	ok + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	ok + "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	ok + "Transfer-Encoding: identity\r\n\r\nhello",
	ok + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	ok + "Content-Length: 5, 5\r\n\r\nhello",
	ok + "Content-Length: +5\r\n\r\nhello",
	ok + "Content-Length: 05\r\n\r\nhello",
	ok + "Content-Length: -1\r\n\r\nhello",
	ok + "Content_Length: 5\r\n\r\nhello",
	ok + "X: a\r\n b\r\n\r\n",
	ok + "X : a\r\n\r\n",
	ok + "X: a\x00b\r\n\r\n",
	ok + "X: a\rb\r\n\r\n",
	"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
	ok + "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nX-Obs: \xe4\r\nContent-Length: 0\r\n\r\n",
	ok + "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.0 200 OK\r\n\r\nold",
	"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\nok" + ok + "Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20) + ok + "Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n", "HTTP/1.1 600 No\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n",
	"garbage\r\n\r\n", "\r\n" + ok + "\r\n", "", "HTTP/1.1 ",
	ok + "X: " + strings.Repeat("v", 20000) + "\r\nContent-Length: 2\r\n\r\nok",
	ok + "Content-Length: 20000\r\n\r\n" + strings.Repeat("b", 20000),
	ok + "Trailer: X-Sum\r\nContent-Length: 2\r\n\r\nok",
	ok + "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 404 Nope\r\nContent-Length: 2\r\n\r\nno",
	"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nno",
}
