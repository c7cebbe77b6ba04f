package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// What is kept in Redis is spelled so: a mark with the version, a checksum of
// all that follows, the digest of the key it is kept by, and then either the
// names of the fields that choose among variants, or an answer. Lengths and
// numbers are varints; a body goes to the end. Another version's is not read.
const (
	mark        = "LCA\x01"
	markedFront = len(mark) + 4 + 32

	kindAnswer = 'A'
	kindVary   = 'V'
)

// What an answer in Redis has at most, besides its body.
const (
	maxFields = 256
	maxHead   = 128 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errSpelling = errors.New("cache: redis: not an answer that this version wrote")

// filed is an answer in Redis and how far its instance had read what ledger when
// it asked the service for it.
type filed struct {
	*answer
	page page
}

func beginSpelling(key *[32]byte, kind byte, room int) []byte {
	b := make([]byte, 0, markedFront+1+room)
	b = append(b, mark...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, key[:]...)
	return append(b, kind)
}

func endSpelling(b []byte) []byte {
	sum := crc32.Checksum(b[len(mark)+4:], castagnoli)
	binary.BigEndian.PutUint32(b[len(mark):], sum)
	return b
}

// readSpelling checks the front and returns the rest.
func readSpelling(b []byte, key *[32]byte) (kind byte, rest *spelling, err error) {
	if len(b) <= markedFront || string(b[:len(mark)]) != mark ||
		binary.BigEndian.Uint32(b[len(mark):]) != crc32.Checksum(b[len(mark)+4:], castagnoli) ||
		[32]byte(b[len(mark)+4:markedFront]) != *key {
		return 0, nil, errSpelling
	}
	return b[markedFront], &spelling{b: b[markedFront+1:]}, nil
}

func spellVary(key *[32]byte, vary []exchange.Field) []byte {
	b := beginSpelling(key, kindVary, 256)
	b = binary.AppendUvarint(b, uint64(len(vary)))
	for _, f := range vary {
		b = appendPart(b, strings.ToLower(f.Name))
	}
	return endSpelling(b)
}

func (s *spelling) vary() ([]string, error) {
	names := make([]string, s.count(maxVary))
	for i := range names {
		if names[i] = s.text(); !token(names[i]) {
			s.bad = true
		}
	}
	if s.bad || len(names) == 0 || len(s.b) > 0 {
		return nil, errSpelling
	}
	return names, nil
}

func spellAnswer(key *[32]byte, a *answer, p page) []byte {
	b := beginSpelling(key, kindAnswer, len(a.body)+2048)
	b = binary.AppendVarint(binary.AppendVarint(b, p.begun), p.seq)
	b = binary.AppendUvarint(b, uint64(a.status))
	flags := uint64(0)
	for i, on := range []bool{a.always, a.must, a.open} {
		if on {
			flags |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, flags)
	for _, n := range []int64{a.date.UnixNano(), a.born.UnixNano(), int64(a.life), int64(a.whileRevalidate), int64(a.ifError)} {
		b = binary.AppendVarint(b, n)
	}
	b = appendPart(b, a.claims)
	b = binary.AppendUvarint(b, uint64(len(a.vary)))
	for _, f := range a.vary {
		b = appendPart(appendPart(b, f.Name), f.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(a.tags)))
	for _, t := range a.tags {
		b = appendPart(b, t)
	}
	b = binary.AppendUvarint(b, uint64(a.header.Len()))
	for name, value := range a.header.All() {
		b = appendPart(appendPart(b, name), value)
	}
	return endSpelling(append(b, a.body...))
}

// answer reads an answer and takes nothing from it that memory would not hold.
func (s *spelling) answer() (*filed, error) {
	p := page{s.number(), s.number()}
	status, flags := int(s.count(599)), s.count(7)
	date, born := time.Unix(0, s.number()), time.Unix(0, s.number())
	f := freshness{date: date, born: born, life: s.duration(0)}
	f.whileRevalidate, f.ifError = s.duration(-1), s.duration(-1)
	f.always, f.must, f.open = flags&1 != 0, flags&2 != 0, flags&4 != 0
	claims := s.text()
	vary := make([]exchange.Field, s.count(maxVary))
	for i := range vary {
		vary[i] = s.field()
	}
	tags := make([]string, s.count(maxTags))
	for i := range tags {
		if tags[i] = s.text(); len(tags[i]) > maxTag {
			s.bad = true
		}
	}
	var header exchange.Fields
	for range s.count(maxFields) {
		h := s.field()
		if about(h.Name) || is(h.Name, "Set-Cookie") || is(h.Name, "Content-Range") {
			s.bad = true
		}
		header.Add(h.Name, h.Value)
	}
	if s.bad || p.begun <= 0 || p.seq <= 0 || status < 200 || status == 206 || status == 304 {
		return nil, errSpelling
	}
	a := newAnswer(status, header, f)
	a.vary, a.claims, a.tags = vary, claims, tags
	if len(s.b) > 0 {
		a.body = append(make([]byte, 0, len(s.b)), s.b...)
	}
	return &filed{a, p}, nil
}

// spelling is read from front to end; what does not fit makes it bad.
type spelling struct {
	b   []byte
	bad bool
}

func (s *spelling) number() int64 {
	n, used := binary.Varint(s.b)
	return n * int64(s.used(used))
}

// count is a number of at most most.
func (s *spelling) count(most uint64) uint64 {
	n, used := binary.Uvarint(s.b)
	if n *= uint64(s.used(used)); n > most {
		s.bad = true
	}
	if s.bad {
		return 0
	}
	return n
}

// used takes n bytes off, and is 0 where they are no number.
func (s *spelling) used(n int) int {
	if n <= 0 || s.bad {
		s.bad = true
		return 0
	}
	s.b = s.b[n:]
	return 1
}

func (s *spelling) duration(least int64) time.Duration {
	n := s.number()
	if n < least || n > int64(maxDelta) {
		s.bad = true
	}
	return time.Duration(n)
}

func (s *spelling) text() string {
	n := s.count(maxHead)
	if s.bad || n > uint64(len(s.b)) {
		s.bad = true
		return ""
	}
	out := string(s.b[:n])
	s.b = s.b[n:]
	return out
}

// field is one that can be sent as it is.
func (s *spelling) field() exchange.Field {
	f := exchange.Field{Name: s.text(), Value: s.text()}
	if !token(f.Name) || strings.ContainsAny(f.Value, "\r\n\x00") {
		s.bad = true
	}
	return f
}
