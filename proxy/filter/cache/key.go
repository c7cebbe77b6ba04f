package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// appendPart frames each part by its length, so that no two keys are spelled
// alike.
func appendPart(key []byte, s string) []byte {
	key = binary.AppendUvarint(key, uint64(len(s)))
	return append(key, s...)
}

// appendURI names what is asked for: scheme, authority, path and query, for the
// GET of it, which is also what HEAD asks about.
func (f *cache) appendURI(key []byte, r *exchange.Request) []byte {
	key = appendTarget(key, r.Scheme, r.Authority, r.Path)
	if len(f.IgnoreQuery) > 0 {
		return appendPart(key, thinned(r.Query, f.IgnoreQuery))
	}
	return appendPart(key, r.Query)
}

// appendTarget is appendURI up to the query.
func appendTarget(key []byte, scheme, authority, path string) []byte {
	key = append(key, 'G')
	key = appendPart(key, scheme)
	if scheme == "https" {
		authority = strings.TrimSuffix(authority, ":443")
	} else {
		authority = strings.TrimSuffix(authority, ":80")
	}
	key = appendPart(key, authority)
	for i := len(key) - len(authority); i < len(key); i++ {
		if c := key[i]; c >= 'A' && c <= 'Z' {
			key[i] = c | 0x20
		}
	}
	return appendPart(key, path)
}

// thinned is a query without the parameters that choose no answer: names, or
// their beginnings and a star.
func thinned(query string, ignore []string) string {
	var kept []string
	for one := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(one, "=")
		if !slices.ContainsFunc(ignore, func(n string) bool {
			if begin, many := strings.CutSuffix(n, "*"); many {
				return strings.HasPrefix(name, begin)
			}
			return n == name
		}) {
			kept = append(kept, one)
		}
	}
	return strings.Join(kept, "&")
}

// splitURI takes a key of appendURI apart.
func splitURI(key string) (scheme, authority, path, query string) {
	var parts [4]string
	rest := key[1:]
	for i := range parts {
		n, used := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		rest = rest[used:]
		parts[i], rest = rest[:n], rest[n:]
	}
	return parts[0], parts[1], parts[2], parts[3]
}

// appendUser names whom the answer is for: the user with what a token lets that
// user do, the consumer, and whom an authorizer told apart. Nothing is appended when nobody is known.
// Credentials still in the request may name somebody else again, so their
// digest belongs to the name.
func (f *cache) appendUser(key []byte, x *exchange.Exchange, saw saw) []byte {
	start := len(key)
	id := x.Identity
	if id != nil && (id.Issuer != "" || id.Subject != "") {
		key = append(key, 'i')
		key = appendPart(key, id.Issuer)
		key = appendPart(key, id.Subject)
		key = appendList(key, id.Roles)
		key = appendList(key, id.Scope)
	}
	if x.Consumer != "" {
		key = appendPart(append(key, 'c'), x.Consumer)
	}
	if x.Vouched != [32]byte{} {
		key = append(append(key, 'v'), x.Vouched[:]...)
	}
	switch t := x.Txn; {
	case t == nil || t.Subject == "":
	case !t.Self && (id == nil || id.Method != "txn"):
		// The identity does not have the token's issuer and roles: all of it counts.
		sum := sha256.Sum256([]byte(t.Token))
		key = append(append(key, 'T'), sum[:]...)
		fallthrough
	default:
		key = appendPart(append(key, 't'), t.Subject)
		key = appendPart(key, t.Scope)
	}
	if len(key) > start && saw&sawCredential != 0 {
		h := &x.Request.Header
		for i := range h.Len() {
			if line := h.At(i); f.credential(line.Name) {
				key = append(key, line.Name[0]&^0x20) // A or C: which of the two
				sum := sha256.Sum256([]byte(line.Value))
				key = append(key, sum[:]...)
			}
		}
	}
	return key
}

// claimed are the fields by which a proxy in front says what was asked for, and
// which services believe: a URL made of them may stand in any answer. Whether
// whoever sent them is trusted is not known here; a stranger's only chooses an
// answer that nobody else is given.
var claimed = [...]string{
	"forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix", "x-original-host",
	"x-http-method-override", "x-http-method", "x-method-override",
}

// appendClaims spells those fields of a request, nothing when it has none. They
// are no part of the URI, so that an unsafe method invalidates what is kept
// under any of them.
func appendClaims(key []byte, h *exchange.Fields) []byte {
	for i := range h.Len() {
		line := h.At(i)
		for n := range claimed {
			if exchange.SameName(line.Name, claimed[n]) {
				key = appendPart(append(key, byte('0'+n)), line.Value)
			}
		}
	}
	return key
}

func appendList(key []byte, list []string) []byte {
	key = binary.AppendUvarint(key, uint64(len(list)))
	for _, s := range list {
		key = appendPart(key, s)
	}
	return key
}

// credential reports whether a field of that name says who is asking.
func (f *cache) credential(name string) bool {
	return is(name, "Authorization") || f.cookies && is(name, "Cookie")
}

// known reports whether a filter has found out who is asking.
func known(x *exchange.Exchange) bool {
	return named(x) || x.Txn != nil && x.Txn.Subject != ""
}

// named is known without the transaction, which by the time of the answer may be
// one that was begun for it, in the workload's own name.
func named(x *exchange.Exchange) bool {
	return x.Identity != nil || x.Consumer != "" || x.Vouched != [32]byte{}
}
