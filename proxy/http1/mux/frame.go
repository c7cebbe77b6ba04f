package mux

import (
	"encoding/binary"
	"fmt"
)

// Protocol is what ALPN calls it.
const Protocol = "lintel/1"

// What both sides take for granted.
const (
	MaxStreams = 128       // at a time
	Window     = 256 << 10 // bytes that may be on their way in one direction of a stream

	headerSize = 8
	frameMost  = 16 << 10 // with its header: a TLS record's worth
	dataMost   = frameMost - headerSize
	wordSize   = 4         // the payload of all but DATA
	lastStream = 1<<32 - 1 // then a new connection is needed
)

// kind is a frame's type.
type kind byte

const (
	dataFrame kind = iota + 1
	windowFrame
	resetFrame
	goAwayFrame
)

const flagFin = 1

// The codes of RESET.
const (
	codeClosed uint32 = iota
	codeRefused
)

// header is a frame's.
type header struct {
	kind   kind
	fin    bool
	length int
	stream uint32
}

func (h header) bytes() (b [headerSize]byte) {
	b[0] = byte(h.kind)
	if h.fin {
		b[1] = flagFin
	}
	binary.BigEndian.PutUint16(b[2:], uint16(h.length))
	binary.BigEndian.PutUint32(b[4:], h.stream)
	return b
}

// parseHeader checks all that can be known without the session.
func parseHeader(b *[headerSize]byte) (header, error) {
	h := header{kind: kind(b[0]), fin: b[1] == flagFin, length: int(binary.BigEndian.Uint16(b[2:])), stream: binary.BigEndian.Uint32(b[4:])}
	most, least := wordSize, wordSize
	switch h.kind {
	case dataFrame:
		most, least = dataMost, 0
	case windowFrame, resetFrame, goAwayFrame:
	default:
		return h, wrong("a frame of type %d", b[0])
	}
	switch {
	case b[1]&^flagFin != 0 || h.fin && h.kind != dataFrame:
		return h, wrong("flags %#x on a frame of type %d", b[1], h.kind)
	case h.length < least || h.length > most:
		return h, wrong("%d bytes in a frame of type %d", h.length, h.kind)
	case h.kind == goAwayFrame && h.stream != 0:
		return h, wrong("GOAWAY on stream %d", h.stream)
	case h.kind != goAwayFrame && h.stream%2 == 0:
		return h, wrong("a frame on stream %d, which cannot be", h.stream)
	}
	return h, nil
}

// ProtocolError is what the other side did that it must not do.
type ProtocolError struct{ what string }

func (e *ProtocolError) Error() string { return "mux: the other side sent " + e.what }

func wrong(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}
