package difftest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// request is one that reached the service whole.
type request struct {
	method, target, host string
	fields               []string // "name: value", names in lower case, sorted by name
	trailer              []string
	body                 string
}

// service is the strictest reader there could be behind a proxy: what it does
// not understand in one way only is written down as broken.
type service struct {
	address string

	mu     sync.Mutex
	got    []request
	broken []string
}

func newService(t testing.TB) *service {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{address: l.Addr().String()}
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
			go func() { defer running.Done(); s.serve(c) }()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return s
}

func (s *service) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		if _, err := br.Peek(1); err != nil {
			return
		}
		r, err := readRequest(br, c)
		s.mu.Lock()
		var wrong *malformed
		switch {
		case errors.As(err, &wrong):
			s.broken = append(s.broken, wrong.Error())
		case err == nil:
			s.got = append(s.got, r)
		}
		s.mu.Unlock()
		if err != nil {
			return // cut short, which the service sees
		}
		body := strconv.Itoa(len(r.body)) + " bytes"
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		if r.method != "HEAD" {
			answer += body
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// take returns what has arrived since it was last asked.
func (s *service) take() (got []request, broken []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, broken = s.got, s.broken
	s.got, s.broken = nil, nil
	return got, broken
}

// malformed is a request that two readers could read differently, unlike one
// that merely stops.
type malformed struct{ what string }

func (m *malformed) Error() string { return m.what }

func wrong(format string, a ...any) error { return &malformed{fmt.Sprintf(format, a...)} }

func readRequest(br *bufio.Reader, c io.Writer) (request, error) {
	line, err := readLine(br)
	if err != nil {
		return request{}, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !token(parts[0]) || parts[1] == "" || parts[2] != "HTTP/1.1" {
		return request{}, wrong("request line %q", line)
	}
	r := request{method: parts[0], target: parts[1]}
	if i := strings.IndexFunc(r.target, func(c rune) bool { return c <= ' ' || c >= 0x7f }); i >= 0 {
		return r, wrong("target %q", r.target)
	}
	if r.fields, err = readFields(br); err != nil {
		return r, err
	}
	var length, coding, host []string
	r.fields = slices.DeleteFunc(r.fields, func(f string) bool {
		name, value, _ := strings.Cut(f, ": ")
		switch name {
		case "content-length":
			length = append(length, value)
		case "transfer-encoding":
			coding = append(coding, value)
		case "host":
			host = append(host, value)
		default:
			return false
		}
		return true
	})
	if len(host) != 1 || len(length) > 1 || len(coding) > 1 || len(length)+len(coding) > 1 || len(coding) == 1 && coding[0] != "chunked" {
		return r, wrong("Host %q, Content-Length %q, Transfer-Encoding %q", host, length, coding)
	}
	r.host = host[0]
	if slices.ContainsFunc(r.fields, func(f string) bool { return strings.HasPrefix(f, "expect:") }) {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return r, err
		}
	}
	switch {
	case len(coding) == 1:
		return r, r.readChunks(br)
	case len(length) == 1:
		n, err := strconv.ParseInt(length[0], 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != length[0] {
			return r, wrong("Content-Length %q", length[0])
		}
		var b bytes.Buffer
		if _, err := io.CopyN(&b, br, n); err != nil {
			return r, io.ErrUnexpectedEOF
		}
		r.body = b.String()
	}
	return r, nil
}

func (r *request) readChunks(br *bufio.Reader) error {
	var body bytes.Buffer
	for {
		line, err := readLine(br)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(line, 16, 64)
		if err != nil || strconv.FormatInt(n, 16) != strings.ToLower(line) {
			return wrong("chunk size %q", line)
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, br, n); err != nil {
			return io.ErrUnexpectedEOF
		}
		if line, err = readLine(br); err != nil {
			return err
		} else if line != "" {
			return wrong("%q after chunk data", line)
		}
	}
	r.body = body.String()
	var err error
	r.trailer, err = readFields(br)
	return err
}

func readFields(br *bufio.Reader) (fields []string, err error) {
	for {
		line, err := readLine(br)
		if err != nil {
			return nil, err
		}
		if line == "" {
			slices.SortStableFunc(fields, func(a, b string) int {
				a, _, _ = strings.Cut(a, ": ")
				b, _, _ = strings.Cut(b, ": ")
				return strings.Compare(a, b)
			})
			return fields, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return nil, wrong("field line %q", line)
		}
		fields = append(fields, strings.ToLower(name)+": "+strings.Trim(value, " \t"))
	}
}

// readLine reads up to CRLF; a line holds no other control byte than a tab.
func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadString('\n')
	if err != nil {
		return "", io.ErrUnexpectedEOF
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	for i := range len(text) {
		ok = ok && (text[i] >= ' ' && text[i] != 0x7f || text[i] == '\t')
	}
	if !ok {
		return "", wrong("line %q", line)
	}
	return text, nil
}

func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
