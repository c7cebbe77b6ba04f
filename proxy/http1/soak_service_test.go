package http1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// content is what a body with id consists of: nobody else's body looks so.
type content struct {
	id   uint64
	at   int
	left int
}

func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), c.left)]
	for i := range p {
		p[i] = contentByte(c.id, c.at+i)
	}
	c.at += len(p)
	c.left -= len(p)
	return len(p), nil
}

func contentByte(id uint64, at int) byte {
	return byte(id>>(8*(uint(at)%8))) + byte(at>>3)
}

// isContent reads r to its end and says how much of content id it was; wrong is
// where it is something else, -1 for nowhere.
func isContent(r io.Reader, id uint64) (n, wrong int, err error) {
	buf := make([]byte, 8<<10)
	for {
		m, err := r.Read(buf)
		for i := range m {
			if buf[i] != contentByte(id, n+i) {
				return n + m, n + i, nil
			}
		}
		n += m
		if err == io.EOF {
			return n, -1, nil
		} else if err != nil {
			return n, -1, err
		}
	}
}

// soakService does as the query of a request says:
//
//	size=N   answers with N bytes of the request's content
//	how=…    length, chunked or close: how that is framed
//	do=…     see serve
type soakService struct {
	l       net.Listener
	running sync.WaitGroup
	down    chan struct{}
	served  atomic.Int64
	fails   chan string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newSoakService(t *testing.T, listen func(net.Listener) net.Listener) *soakService {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &soakService{l: listen(l), down: make(chan struct{}), fails: make(chan string, 100), conns: map[net.Conn]struct{}{}}
	s.running.Go(func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = struct{}{}
			s.mu.Unlock()
			s.running.Go(func() {
				s.conn(c)
				_ = c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			})
		}
	})
	return s
}

func (s *soakService) stop() {
	close(s.down)
	_ = s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *soakService) fail(format string, a ...any) {
	select {
	case s.fails <- fmt.Sprintf(format, a...):
	default:
	}
}

func (s *soakService) conn(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if !s.serve(c, br, r) {
			return
		}
	}
}

// serve answers one request and reports whether the connection goes on.
func (s *soakService) serve(c net.Conn, br *bufio.Reader, r *http.Request) bool {
	s.served.Add(1)
	q := r.URL.Query()
	id, err := strconv.ParseUint(r.Header.Get("X-Id"), 16, 64)
	if err != nil || q.Get("id") != r.Header.Get("X-Id") {
		s.fail("a request for %q has X-Id %q", r.RequestURI, r.Header.Get("X-Id"))
		return false
	}
	do := q.Get("do")
	switch do {
	case "vanish": // before a word is said
		return false
	case "early": // the answer does not wait for the body
		answer(c, r, id, "Connection: close\r\n")
		return false
	case "refuse": // with the body unread, and then away
		_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Too Large\r\nX-Id: %x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", id)
		return false
	case "stall":
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Id: "+r.Header.Get("X-Id")+"\r\nConnection: close\r\nContent-Length: 10\r\n\r\n")
		s.waitFor(c, br)
		return false
	case "silence":
		s.waitFor(c, br)
		return false
	case "switch":
		_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nX-Id: %x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", id)
		_, _ = io.Copy(c, br)
		return false
	case "garbage":
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Id: 0\nContent-Length: 2\r\n\r\nno")
		return false
	}
	if r.Header.Get("Expect") != "" {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	n, wrong, err := isContent(r.Body, id)
	switch {
	case err != nil:
		return false // it was broken off
	case wrong >= 0:
		s.fail("the body of %x is another's from byte %d on", id, wrong)
		return false
	case q.Has("sent") && q.Get("sent") != strconv.Itoa(n):
		s.fail("%s bytes of %x were sent and %d arrived as a whole body", q.Get("sent"), id, n)
		return false
	case q.Has("sum") && r.Trailer.Get("X-Sum") != q.Get("sum"):
		s.fail("the trailer of %x is %v", id, r.Trailer)
		return false
	}
	if do == "hints" {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 103 Early Hints\r\nLink: <%x>\r\n\r\n", id)
	}
	if do == "cut" {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %x\r\nContent-Length: 100000\r\n\r\n", id)
		if r.Method == http.MethodHead {
			return false // content that comes later would be taken for the next answer: nobody could tell
		}
		if r.Method != http.MethodHead {
			_, _ = io.Copy(c, &content{id: id, left: 50000})
		}
		return false
	}
	if do == "last" {
		answer(c, r, id, "")
		return false // without having said so
	}
	return answer(c, r, id, "")
}

// waitFor waits until the other side leaves.
func (s *soakService) waitFor(c net.Conn, br *bufio.Reader) {
	_ = c.SetReadDeadline(time.Now().Add(waitLimit))
	_, _ = io.Copy(io.Discard, br)
}

// answer reports whether the connection goes on. A HEAD request gets the head
// alone: a body behind it would be taken for the next answer by whoever uses the
// connection next, and nobody can tell.
func answer(c net.Conn, r *http.Request, id uint64, more string) bool {
	q := r.URL.Query()
	size, _ := strconv.Atoi(q.Get("size"))
	body := &content{id: id, left: size}
	w := bufio.NewWriter(c)
	_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nX-Id: %x\r\n%s", id, more)
	if r.Method == http.MethodHead {
		_, _ = fmt.Fprintf(w, "Content-Length: %d\r\n\r\n", size)
		return w.Flush() == nil && more == ""
	}
	switch q.Get("how") {
	case "chunked":
		_, _ = io.WriteString(w, "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
		piece := make([]byte, 1+int(id%5000))
		for {
			n, err := body.Read(piece)
			if err != nil {
				break
			}
			_, _ = fmt.Fprintf(w, "%x\r\n%s\r\n", n, piece[:n])
		}
		_, _ = fmt.Fprintf(w, "0\r\nX-Sum: %x\r\n\r\n", id)
	case "close":
		_, _ = io.WriteString(w, "Connection: close\r\n\r\n")
		_, _ = io.Copy(w, body)
		_ = w.Flush()
		return false
	default:
		_, _ = fmt.Fprintf(w, "Content-Length: %d\r\n\r\n", size)
		_, _ = io.Copy(w, body)
	}
	return w.Flush() == nil && more == ""
}
