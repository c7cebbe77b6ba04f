package sidecar

import (
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// closeWait is how long a client may take to answer a close frame (RFC 6455
// section 7.1.1) before its connection is cut.
const closeWait = 2 * time.Second

// closing is the service's side of a WebSocket. When its stream is ended it
// hands out a close frame, at the boundary of a frame, and then nothing more.
type closing struct {
	io.ReadWriteCloser
	stream *stream
	frames frames
	rest   []byte // of the close frame
	told   bool   // the close frame has been made
	once   sync.Once
}

// wake ends the service's side, so that a read in progress returns, and cuts a
// client that does not answer.
func (c *closing) wake() {
	c.once.Do(func() {
		why := c.stream.why.Load()
		time.AfterFunc(closeWait, func() { c.stream.life.Cancel(why) })
		_ = c.ReadWriteCloser.Close()
	})
}

// Read implements io.Reader for what goes to the client.
func (c *closing) Read(p []byte) (int, error) {
	why := c.stream.why.Load()
	if why == nil {
		n, err := c.ReadWriteCloser.Read(p)
		c.frames.see(p[:n])
		if why = c.stream.why.Load(); n > 0 || err == nil || why == nil || err == io.EOF && !c.ended() {
			return n, err
		}
	}
	if !c.told {
		c.told = true
		if c.frames.between() {
			c.rest = closeFrame(why)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// ended reports whether the stream was ended by policy; wake is what closes the
// service's side, so an EOF may come of it.
func (c *closing) ended() bool { return c.stream.why.Load() != nil }

// Write implements io.Writer for what comes from the client: after the end there
// is nobody to take it, and the client's answer to the close frame is no error.
func (c *closing) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p)
	if err != nil && c.ended() {
		return len(p), nil
	}
	return n, err
}

// CloseWrite ends the client's half.
func (c *closing) CloseWrite() error {
	if c.ended() {
		return nil
	}
	if h, ok := c.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

// closeFrame is an unmasked close frame (RFC 6455 section 5.5.1).
func closeFrame(why *ending) []byte {
	text := why.Error()
	text = text[:min(len(text), 123)]
	b := append(make([]byte, 0, 4+len(text)), 0x88, byte(2+len(text)))
	return append(binary.BigEndian.AppendUint16(b, why.close), text...)
}

// frames follows where WebSocket frames begin (RFC 6455 section 5.2).
type frames struct {
	head [10]byte // of a frame, as far as it has come; a mask is counted as payload
	have int
	left uint64 // payload to come
}

// between reports whether what was seen so far ends with a whole frame.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

func (f *frames) see(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		if f.have < 2 {
			continue
		}
		length, size := uint64(f.head[1]&0x7f), 2
		switch length {
		case 126:
			size = 4
		case 127:
			size = 10
		}
		if f.have < size {
			continue
		}
		switch size {
		case 4:
			length = uint64(binary.BigEndian.Uint16(f.head[2:]))
		case 10:
			length = binary.BigEndian.Uint64(f.head[2:]) &^ (1 << 63)
		}
		if f.head[1]&0x80 != 0 {
			length += 4
		}
		f.have, f.left = 0, length
	}
}
