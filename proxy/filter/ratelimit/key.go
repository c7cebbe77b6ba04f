package ratelimit

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// part is one component of a key.
type part struct {
	kind byte
	arg  string
}

const (
	byAddress  = 'a'
	byConsumer = 'c'
	bySubject  = 's'
	byClaim    = 'j'
	byRoute    = 'r'
	byHeader   = 'h'
	byPeer     = 'p'
	byParam    = 'm'
)

func parseParts(key []string) ([]part, error) {
	parts := make([]part, len(key))
	for i, k := range key {
		p, err := parsePart(k)
		if err != nil {
			return nil, filter.Errorf(fmt.Sprintf("key[%d]", i), "%v", err)
		}
		parts[i] = p
	}
	return parts, nil
}

// keyed makes x's key of parts in room.
func keyed(room []byte, parts []part, x *exchange.Exchange, v6 int) []byte {
	for _, p := range parts {
		room = p.appendTo(room, x, v6)
	}
	return room
}

func parsePart(s string) (part, error) {
	kind, arg, _ := strings.Cut(s, ":")
	arg = strings.TrimSpace(arg)
	switch s {
	case "address":
		return part{kind: byAddress}, nil
	case "consumer":
		return part{kind: byConsumer}, nil
	case "subject":
		return part{kind: bySubject}, nil
	case "route":
		return part{kind: byRoute}, nil
	case "peer":
		return part{kind: byPeer}, nil
	}
	// Both appear in RateLimit-Policy, a quoted string.
	plain := arg != "" && !strings.ContainsFunc(arg, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
	switch {
	case kind == "claim" && plain:
		return part{byClaim, arg}, nil
	case kind == "header" && plain:
		return part{byHeader, arg}, nil
	case kind == "path_param" && plain:
		return part{byParam, arg}, nil
	}
	return part{}, fmt.Errorf("found %q, want address, consumer, subject, peer, claim:<dotted path>, route, header:<name> or path_param:<name>", s)
}

// appendTo adds the part of x to key. Each part carries its kind and length, so
// that no two different keys are spelled alike.
func (p part) appendTo(key []byte, x *exchange.Exchange, v6 int) []byte {
	start := len(key)
	key = append(key, p.kind, 0, 0, 0, 0)
	found := false
	switch p.kind {
	case byConsumer:
		key, found = append(key, x.Consumer...), x.Consumer != ""
	case bySubject:
		if id := x.Identity; id != nil && id.Subject != "" {
			key = binary.BigEndian.AppendUint32(key, uint32(len(id.Issuer)))
			key = append(append(key, id.Issuer...), id.Subject...)
			found = true
		}
	case byClaim:
		if x.Identity != nil {
			key, found = appendClaim(key, x.Identity.Claims, p.arg)
		}
	case byRoute:
		key, found = append(key, x.Route...), true
	case byPeer:
		key, found = append(key, x.Peer.ID...), x.Peer.ID != ""
	case byParam:
		v := x.Param(p.arg)
		key, found = append(key, v...), v != ""
	case byHeader:
		v := x.Request.Header.Joined(p.arg)
		key, found = append(key, v...), v != ""
	}
	if !found {
		key[start] = byAddress
		key = appendAddress(key[:start+5], x.ClientIP, v6)
	}
	binary.BigEndian.PutUint32(key[start+1:], uint32(len(key)-start-5))
	return key
}

// appendAddress takes an IPv4 address whole, also one mapped into IPv6, and of
// an IPv6 address what its holder cannot vary. Without an address all are one.
func appendAddress(key []byte, ip netip.Addr, v6 int) []byte {
	ip = ip.Unmap()
	if !ip.IsValid() {
		return key
	}
	if ip.Is4() {
		b := ip.As4()
		return append(key, b[:]...)
	}
	b := ip.As16()
	for i := range b {
		switch bits := v6 - 8*i; {
		case bits <= 0:
			b[i] = 0
		case bits < 8:
			b[i] &= ^byte(0) << (8 - bits)
		}
	}
	return append(key, b[:]...)
}

// appendClaim appends a claim that names somebody.
func appendClaim(key []byte, claims map[string]any, path string) ([]byte, bool) {
	v, _ := exchange.Claim(claims, path)
	switch v := v.(type) {
	case string:
		return append(key, v...), v != ""
	case json.Number:
		return append(key, v...), v != ""
	case float64:
		return strconv.AppendFloat(key, v, 'g', -1, 64), true
	case int64:
		return strconv.AppendInt(key, v, 10), true
	case int:
		return strconv.AppendInt(key, int64(v), 10), true
	case bool:
		return strconv.AppendBool(key, v), true
	}
	return key, false // an object or a list names nobody
}
