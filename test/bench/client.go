package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// patience is how long a load generator waits for anything.
const patience = 10 * time.Second

// client is one connection of our own load generators, which do what wrk and
// h2load cannot: new connections by the thousand, a fixed rate, a header that
// is never the same. It does no more than it must, to leave the core to the backend.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func newClient(conn net.Conn) *client { return &client{conn, bufio.NewReader(conn)} }

// requestHead is a request without a body; extra is whole lines.
func requestHead(method, host, path, extra string) []byte {
	return []byte(method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + extra + "\r\n")
}

// ask sends a request and takes the whole answer, which must be a 200.
func (c *client) ask(head []byte) error {
	if err := c.send(head); err != nil {
		return err
	}
	return c.answer()
}

// send gives what is sent, and its answer, their time.
func (c *client) send(request []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write(request)
	return err
}

// answer reads one answer with a Content-Length or with chunks.
func (c *client) answer() error {
	length, chunked, err := c.head()
	switch {
	case err != nil:
		return err
	case chunked:
		return c.chunks()
	case length < 0:
		return fmt.Errorf("an answer without a length")
	}
	return c.skip(length)
}

// head reads what comes before the body and says how long that is; -1 when it
// has no Content-Length.
func (c *client) head() (length int64, chunked bool, err error) {
	line, err := c.line()
	if err != nil {
		return 0, false, fmt.Errorf("no answer: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return 0, false, fmt.Errorf("expected a 200, found %q", line)
	}
	for length = -1; ; {
		if line, err = c.line(); err != nil || len(line) == 0 {
			return length, chunked, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, false, fmt.Errorf("odd Content-Length %q", value)
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

func (c *client) chunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(line), 16, 63)
		if err != nil {
			return fmt.Errorf("odd chunk size %q", line)
		}
		if err := c.skip(size); err != nil {
			return err
		}
		if _, err := c.line(); err != nil { // the end of the chunk, or of the trailer
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// line is the next one without its end, valid until the next read.
func (c *client) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

func (c *client) skip(n int64) error {
	_, err := io.CopyN(io.Discard, c.r, n)
	return err
}
