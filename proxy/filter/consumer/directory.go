package consumer

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Issuer is the issuer of the identity that a consumer has by its own
// credential, so that a user of the same name is somebody else.
const Issuer = "urn:lintel:consumer"

// Consumer is a known API client as filters use it. It is read only.
type Consumer struct {
	filter.Consumer
	groups   string // as a header value
	metadata map[string]string
	tags     map[string]string
}

// Key is one of a consumer's API keys.
type Key struct {
	filter.ConsumerKey
	Consumer *Consumer
	Identity *exchange.Identity
}

// Directory finds consumers by what they show. It is read only.
type Directory struct {
	list         []filter.Consumer // kept, so that its address stays taken
	named        map[string]*Consumer
	keys         map[uint64][]*Key // by the first bytes of the hash
	certificates certificates
}

// Known returns the directory of env's consumers, one for all filters of a
// table: consumers may be many, and so may routes.
func Known(env *filter.Env) (*Directory, error) {
	if env.Store == nil {
		return newDirectory(env.Consumers), nil
	}
	// The list is never changed, and its directory keeps it, so no other list
	// has its address as long as the directory is in the store.
	print := fmt.Sprintf("%p/%d", env.Consumers, len(env.Consumers))
	return store.Use(env.Store, "consumers", print, func() (*Directory, error) { return newDirectory(env.Consumers), nil })
}

func newDirectory(list []filter.Consumer) *Directory {
	d := &Directory{list: list, named: make(map[string]*Consumer, len(list)), keys: map[uint64][]*Key{}}
	for i := range list {
		c := &Consumer{Consumer: list[i], groups: joined(list[i].Groups), metadata: plain(list[i].Metadata), tags: plain(list[i].Tags)}
		d.named[c.Name] = c
		for _, k := range c.Keys {
			id := &exchange.Identity{Method: "apikey", Issuer: Issuer, Subject: c.Name, Roles: c.Groups, Expires: k.Expires}
			at := binary.BigEndian.Uint64(k.Hash[:])
			d.keys[at] = append(d.keys[at], &Key{k, c, id})
		}
		for _, m := range c.Certificates {
			d.certificates.add(c, m)
		}
	}
	return d
}

// Named returns the consumer of that name, or nil.
func (d *Directory) Named(name string) *Consumer { return d.named[name] }

// Keyed returns the key with that SHA-256, or nil. Who asks knows the hash of
// what they sent, and nothing is told of how near another one is: the whole of
// it is compared in constant time.
func (d *Directory) Keyed(hash *[32]byte) *Key {
	var found *Key
	for _, k := range d.keys[binary.BigEndian.Uint64(hash[:])] {
		if subtle.ConstantTimeCompare(k.Hash[:], hash[:]) == 1 {
			found = k
		}
	}
	return found
}

// joined leaves out a member that holds a comma: it would pass for two.
func joined(list []string) string {
	var out []string
	for _, s := range list {
		if s = printable(s); s != "" && !strings.Contains(s, ",") {
			out = append(out, s)
		}
	}
	return strings.Join(out, ",")
}

func plain(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = printable(v)
	}
	return out
}

// printable drops what would end a header line, and white space around it.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s))
}
