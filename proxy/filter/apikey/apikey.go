package apikey

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
	"lintel.dev/lintel/proxy/filter/credential"
)

// Config of the filter.
type Config struct {
	Header    string            `yaml:"header" default:"X-API-Key" doc:"the header that carries the key; off looks in none"`
	Prefix    string            `yaml:"prefix" doc:"the word that stands before the key in the header, as ApiKey or Bearer" example:"ApiKey"`
	Query     string            `yaml:"query" doc:"the query parameter that carries the key, none when empty; it ends up in histories and in the logs of whatever stands in front" example:"api_key"`
	Forward   bool              `yaml:"forward" doc:"leave the key on the forwarded request"`
	Consumers []string          `yaml:"consumers" listify:"true" doc:"the consumers that may pass; with groups, those too; all when both are empty"`
	Groups    []string          `yaml:"groups" listify:"true" doc:"groups whose consumers may pass"`
	Headers   map[string]string `yaml:"headers" doc:"request header to what it tells the service: name, groups, credential (the key's id), metadata.<name> or tags.<name>; a client's own copy is removed" example:"{X-Consumer-Name: name, X-Plan: metadata.plan}"`
	Realm     string            `yaml:"realm" default:"api" doc:"realm of the WWW-Authenticate challenge"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("api_key", "Finds out which consumer calls by an API key.", build)
}

// Filter finds the consumer of every request.
type Filter struct {
	place     credential.Place
	forward   bool
	known     *consumer.Directory
	allow     consumer.Allow
	headers   consumer.Headers
	challenge []exchange.Field
	now       func() time.Time
}

func build(c *Config, env *filter.Env) (any, error) {
	f := &Filter{forward: c.Forward, now: time.Now, place: credential.Place{Header: c.Header, Prefix: c.Prefix, Query: c.Query}}
	switch c.Header {
	case "":
		f.place.Header = "X-API-Key"
	case credential.Off:
		f.place.Header = ""
	}
	if err := f.place.Check(); err != nil {
		return nil, err
	}
	realm := c.Realm
	if realm == "" {
		realm = "api"
	}
	if err := credential.Quotable(realm); err != nil {
		return nil, filter.Errorf("realm", "%s", err)
	}
	scheme := "ApiKey"
	if c.Prefix != "" {
		scheme = c.Prefix
	}
	f.challenge = []exchange.Field{{Name: "WWW-Authenticate", Value: scheme + ` realm="` + realm + `"`}}
	var err error
	if f.known, err = consumer.Known(env); err != nil {
		return nil, err
	}
	if f.allow, err = consumer.NewAllow(f.known, c.Consumers, c.Groups); err != nil {
		return nil, err
	}
	f.headers, err = consumer.NewHeaders(c.Headers, f.place.Header)
	return f, err
}

// OnRequest sets x.Consumer and x.Identity, or refuses.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	f.headers.Clean(x)
	text, n := f.place.Find(x)
	f.place.Hide(x)
	switch {
	case n == 0:
		return filter.Refuse(f.Missing())
	case n > 1:
		return filter.Refuse(&exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "many-tokens",
			Title: "Ambiguous credentials", Detail: "more than one API key was sent"})
	}
	key := f.find(text)
	if key == nil {
		return filter.Refuse(f.refuse("bad-api-key", "the API key is not known"))
	}
	if !key.Expires.IsZero() && !f.now().Before(key.Expires) {
		return filter.Refuse(f.refuse("api-key-expired", "the API key has expired"))
	}
	x.Consumer, x.Identity = key.Consumer.Name, key.Identity
	if !f.allow.Admits(key.Consumer) {
		return filter.Refuse(consumer.Refusal())
	}
	if !f.forward {
		f.place.Take(x)
	}
	f.headers.Tell(x, key.Consumer, key.ID)
	return filter.Next
}

func (f *Filter) find(text string) *consumer.Key {
	var room [maxKey]byte
	if text == "" || len(text) > len(room) {
		return nil
	}
	hash := sha256.Sum256(room[:copy(room[:], text)])
	return f.known.Keyed(&hash)
}

func (f *Filter) refuse(code, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusUnauthorized, Code: code, Title: "Not authenticated",
		Detail: detail, Header: f.challenge}
}

// Presence implements filter.Authenticator.
func (f *Filter) Presence(x *exchange.Exchange) filter.Presence {
	if _, n := f.place.Find(x); n == 0 {
		return filter.Absent
	}
	return filter.Present
}

// Missing implements filter.Authenticator.
func (f *Filter) Missing() *exchange.Fault {
	return f.refuse("no-api-key", "an API key is required, in "+f.place.String())
}

// Skip implements filter.Authenticator. What nobody has verified is not
// forwarded, whatever forward says.
func (f *Filter) Skip(x *exchange.Exchange) {
	f.headers.Clean(x)
	f.place.Remove(x)
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	return fmt.Sprintf("key in %s; lets through %s; tells the service %s", f.place.String(), f.allow.String(), f.headers.String())
}
