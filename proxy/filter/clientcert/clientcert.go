package clientcert

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Config of the filter.
type Config struct {
	Required  bool              `yaml:"required" default:"true" doc:"refuse requests on connections without a client certificate"`
	Unknown   string            `yaml:"unknown" default:"refuse" enum:"refuse,allow" doc:"what becomes of a verified certificate that is no consumer's: allow lets it pass as its URI SAN or subject, without a consumer"`
	Consumers []string          `yaml:"consumers" listify:"true" doc:"the consumers that may pass; with groups, those too; all when both are empty"`
	Groups    []string          `yaml:"groups" listify:"true" doc:"groups whose consumers may pass"`
	Headers   map[string]string `yaml:"headers" doc:"request header to what it tells the service: name, groups, credential (the certificate's SHA-256), metadata.<name> or tags.<name>; a client's own copy is removed"`
	Forward   bool              `yaml:"forward" doc:"hand the certificate on in the header Client-Cert (RFC 9440)"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("client_cert", "Finds out which consumer calls by the client certificate of a TLS listener.", build)
}

// Filter finds the consumer of every request.
type Filter struct {
	required, strangers, forward bool

	known   *consumer.Directory
	allow   consumer.Allow
	headers consumer.Headers
	own     *firewall.Set // Client-Cert, where it is written
	now     func() time.Time

	mu   sync.RWMutex
	seen map[*x509.Certificate]*holder
}

// holder is what is known of a certificate, worked out once. It is read only.
type holder struct {
	consumer *consumer.Consumer // nil: nobody's
	identity *exchange.Identity
	id       string // fingerprint in hex
	forward  string // value of Client-Cert
	err      error
}

// remembered bounds the certificates kept in mind.
const remembered = 4096

// clientCert is the field of RFC 9440 section 2.2.
const clientCert = "Client-Cert"

func build(c *Config, env *filter.Env) (any, error) {
	f := &Filter{required: c.Required, strangers: c.Unknown == "allow", forward: c.Forward, now: time.Now, seen: map[*x509.Certificate]*holder{}}
	var err error
	if f.known, err = consumer.Known(env); err != nil {
		return nil, err
	}
	if f.allow, err = consumer.NewAllow(f.known, c.Consumers, c.Groups); err != nil {
		return nil, err
	}
	if f.strangers && !f.allow.Any() {
		return nil, filter.Errorf("unknown", "allow lets certificates pass that are no consumer's, and consumers and groups say who may: want one of the two")
	}
	if f.own, err = firewall.NewSet(clientCert); err != nil {
		return nil, err
	}
	f.headers, err = consumer.NewHeaders(c.Headers)
	return f, err
}

// OnRequest sets x.Consumer and x.Identity, or refuses.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	f.clean(x)
	cert := shown(x)
	switch {
	case cert == nil && f.required:
		return filter.Refuse(f.Missing())
	case cert == nil:
		return filter.Next
	case len(x.Client.TLS.VerifiedChains) == 0:
		return filter.Refuse(refusal("bad-certificate", "the client certificate was not verified", nil))
	case f.now().After(cert.NotAfter):
		// A connection may outlive the certificate it was opened with.
		return filter.Refuse(refusal("certificate-expired", "the client certificate has expired since the connection was made", nil))
	}
	h := f.holder(cert)
	if h.err != nil {
		return filter.Refuse(refusal("bad-certificate", "the client certificate is not one consumer's alone", h.err))
	}
	if h.consumer == nil && !f.strangers {
		return filter.Refuse(refusal("unknown-certificate", "the client certificate is no consumer's", nil))
	}
	x.Identity = h.identity
	if h.consumer != nil {
		x.Consumer = h.consumer.Name
	}
	if !f.allow.Admits(h.consumer) {
		return filter.Refuse(consumer.Refusal())
	}
	f.headers.Tell(x, h.consumer, h.id)
	if f.forward {
		x.Request.Header.Add(clientCert, h.forward)
	}
	return filter.Next
}

func (f *Filter) clean(x *exchange.Exchange) {
	f.headers.Clean(x)
	if f.forward {
		x.Removed += f.own.CleanRequest(x)
	}
}

func shown(x *exchange.Exchange) *x509.Certificate {
	if x.Client.TLS == nil || len(x.Client.TLS.PeerCertificates) == 0 {
		return nil
	}
	return x.Client.TLS.PeerCertificates[0]
}

func (f *Filter) holder(cert *x509.Certificate) *holder {
	f.mu.RLock()
	h := f.seen[cert]
	f.mu.RUnlock()
	if h != nil {
		return h
	}
	h = f.lookUp(cert)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) >= remembered {
		clear(f.seen)
	}
	f.seen[cert] = h
	return h
}

func (f *Filter) lookUp(cert *x509.Certificate) *holder {
	s, err := consumer.Show(cert)
	if err != nil {
		return &holder{err: err}
	}
	h := &holder{id: hex.EncodeToString(s.Fingerprint[:])}
	if f.forward {
		h.forward = ":" + base64.StdEncoding.EncodeToString(cert.Raw) + ":"
	}
	if h.consumer, h.err = f.known.Certified(s); h.err != nil {
		return h
	}
	h.identity = &exchange.Identity{Method: "certificate", Expires: cert.NotAfter}
	switch {
	case h.consumer != nil:
		h.identity.Issuer, h.identity.Subject, h.identity.Roles = consumer.Issuer, h.consumer.Name, h.consumer.Groups
	case len(cert.URIs) > 0:
		h.identity.Issuer, h.identity.Subject = "x509:"+s.IssuerDN, cert.URIs[0].String()
	case s.SubjectDN != "":
		h.identity.Issuer, h.identity.Subject = "x509:"+s.IssuerDN, s.SubjectDN
	default:
		h.identity.Issuer, h.identity.Subject = "x509:"+s.IssuerDN, "sha256:"+h.id
	}
	return h
}

func refusal(code, detail string, err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusForbidden, Code: code, Title: "Not authenticated",
		Detail: detail, Err: err, Proxy: "http_request_denied"}
}

// Presence implements filter.Authenticator.
func (f *Filter) Presence(x *exchange.Exchange) filter.Presence {
	if shown(x) == nil {
		return filter.Absent
	}
	return filter.Present
}

// Missing implements filter.Authenticator. It is a 403: a 401 has to carry a
// challenge, and HTTP has none for certificates.
func (f *Filter) Missing() *exchange.Fault {
	return refusal("no-certificate", "a TLS client certificate is required", nil)
}

// Skip implements filter.Authenticator. The certificate itself goes no further
// than the connection.
func (f *Filter) Skip(x *exchange.Exchange) { f.clean(x) }

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	none, strange := "passes", "refused"
	if f.required {
		none = "refused"
	}
	if f.strangers {
		strange = "passes"
	}
	return fmt.Sprintf("without a certificate: %s; with one of no consumer: %s; lets through %s; tells the service %s",
		none, strange, f.allow.String(), f.headers.String())
}
