package txntoken

import (
	"errors"
	"fmt"
)

// hopWire is a hop token's claims, as views into the decoded payload.
type hopWire struct {
	iss, aud, tth []byte
	iat, exp      int64
	dl            int64  // -1 absent
	rb            int    // -1 absent
	pr            int64  // 0 absent; others than 1 and 2 mean nothing
	chain         []byte // the list's inside, quotes and commas included
	links         int
}

// hopReader reads the subset of JSON that Sign writes: one flat object of
// plain strings, whole numbers and lists of plain strings, without white space
// or escapes. Anything else did not come from a Lintel. Names it does not know
// are passed over, so that a later version may say more.
type hopReader struct {
	b []byte
	i int
}

var errHopJSON = errors.New("not written as a hop token's claims are")

// The known claims, as bits: each may stand there once.
const (
	claimIss = 1 << iota
	claimAud
	claimIat
	claimExp
	claimTth
	claimDl
	claimRb
	claimChain
	claimPr

	claimsNeeded = claimIss | claimAud | claimIat | claimExp
)

func parseHop(b []byte) (hopWire, error) {
	c := hopWire{dl: -1, rb: -1}
	r := hopReader{b: b}
	seen := 0
	if !r.eat('{') {
		return c, errHopJSON
	}
	for {
		name, ok := r.text()
		if !ok || !r.eat(':') {
			return c, errHopJSON
		}
		bit, ok := c.read(&r, name)
		if !ok {
			return c, errHopJSON
		}
		if seen&bit != 0 {
			return c, fmt.Errorf("claim %s stands there twice", name)
		}
		seen |= bit
		if r.eat(',') {
			continue
		}
		if !r.eat('}') || r.i != len(b) {
			return c, errHopJSON
		}
		break
	}
	if seen&claimsNeeded != claimsNeeded {
		return c, errors.New("iss, aud, iat or exp is missing")
	}
	if c.dl > maxRemaining || c.rb > maxRetries {
		return c, errors.New("dl or rb is out of range")
	}
	return c, nil
}

// read reads the value of one claim and returns its bit, 0 for an unknown one.
func (c *hopWire) read(r *hopReader, name []byte) (bit int, ok bool) {
	var n int64
	switch string(name) {
	case "iss":
		c.iss, ok = r.text()
		return claimIss, ok
	case "aud":
		c.aud, ok = r.text()
		return claimAud, ok
	case "tth":
		c.tth, ok = r.text()
		return claimTth, ok && len(c.tth) > 0
	case "iat":
		c.iat, ok = r.number()
		return claimIat, ok
	case "exp":
		c.exp, ok = r.number()
		return claimExp, ok
	case "dl":
		c.dl, ok = r.number()
		return claimDl, ok
	case "rb":
		n, ok = r.number()
		c.rb = int(min(n, maxRetries+1))
		return claimRb, ok
	case "pr":
		c.pr, ok = r.number()
		return claimPr, ok
	case "chain":
		c.chain, c.links, ok = r.list()
		return claimChain, ok && c.links > 0
	}
	switch r.peek() {
	case '"':
		_, ok = r.text()
	case '[':
		_, _, ok = r.list()
	default:
		_, ok = r.number()
	}
	return 0, ok
}

func (r *hopReader) peek() byte {
	if r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

func (r *hopReader) eat(c byte) bool {
	if r.i < len(r.b) && r.b[r.i] == c {
		r.i++
		return true
	}
	return false
}

// text reads a string of printable ASCII without escapes.
func (r *hopReader) text() ([]byte, bool) {
	if !r.eat('"') {
		return nil, false
	}
	for from := r.i; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '"':
			r.i++
			return r.b[from : r.i-1], true
		case c < 0x20, c == '\\', c > 0x7e:
			return nil, false
		}
	}
	return nil, false
}

// number reads an unsigned whole number of at most 12 digits, without leading
// zeros.
func (r *hopReader) number() (n int64, ok bool) {
	from := r.i
	for r.i < len(r.b) && '0' <= r.b[r.i] && r.b[r.i] <= '9' {
		if r.i-from == 12 {
			return 0, false
		}
		n = n*10 + int64(r.b[r.i]-'0')
		r.i++
	}
	digits := r.i - from
	return n, digits == 1 || digits > 1 && r.b[from] != '0'
}

// list reads a list of strings and returns what is between the brackets.
func (r *hopReader) list() (inside []byte, n int, ok bool) {
	if !r.eat('[') {
		return nil, 0, false
	}
	from := r.i
	if r.eat(']') {
		return nil, 0, true
	}
	for {
		if _, ok := r.text(); !ok {
			return nil, 0, false
		}
		n++
		if r.eat(',') {
			continue
		}
		if !r.eat(']') {
			return nil, 0, false
		}
		return r.b[from : r.i-1], n, true
	}
}
