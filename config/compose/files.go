package compose

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/listen"
)

// endsSoon is from when on validate warns of a certificate's end.
const endsSoon = 14 * 24 * time.Hour

// ConfigError is a mistake in the configuration, found while starting.
type ConfigError struct{ Err error }

func (e ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the mistake itself.
func (e ConfigError) Unwrap() error { return e.Err }

// CheckFiles reads the certificate, key and CA files of listeners and services,
// and says what is wrong with any of them at its place in the configuration.
// Warnings are of what works, and soon does not.
func CheckFiles(s *config.Snapshot) (errs []error, warnings []string) {
	for i, l := range s.Listeners {
		if l.TLS == nil {
			continue
		}
		at := func(key string) string { return s.Pos(fmt.Sprintf("listeners[%d].tls.%s", i, key)) }
		for j, c := range l.TLS.Certificates {
			key := fmt.Sprintf("certificates[%d]", j)
			ends, err := listen.Pair{Cert: c.Cert, Key: c.Key}.Check()
			var file *listen.FileError
			switch {
			case errors.As(err, &file):
				errs = append(errs, fmt.Errorf("%s: listener %s: %s.%s: %w", at(key+"."+file.Key), l.Name, key, file.Key, err))
			case time.Until(ends) < endsSoon:
				warnings = append(warnings, fmt.Sprintf("%s: listener %s: certificate %s ends %s", at(key+".cert"), l.Name, c.Cert, ends.UTC().Format(time.RFC3339)))
			}
		}
		if ca := l.TLS.ClientCA; ca != "" {
			if err := listen.CheckCA(ca); err != nil {
				errs = append(errs, fmt.Errorf("%s: listener %s: %w", at("client_ca"), l.Name, err))
			}
		}
		if a := l.TLS.ACME; a != nil && a.CARoot != "" {
			if err := listen.CheckCA(a.CARoot); err != nil {
				errs = append(errs, fmt.Errorf("%s: listener %s: acme: ca_root: %w", at("acme.ca_root"), l.Name, err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name]
		if svc.TLS == nil || svc.Mesh {
			continue
		}
		conf, err := clientTLS(svc.TLS)
		if err != nil {
			errs = append(errs, ServiceError(s, name, fmt.Errorf("service %s: tls: %w", name, err)))
			continue
		}
		for _, pair := range conf.Certificates {
			if w := ended(pair.Leaf); w != "" {
				warnings = append(warnings, fmt.Sprintf("%s: service %s: tls: certificate %s %s", s.Pos("services."+name+".tls.cert"), name, svc.TLS.Cert, w))
			}
		}
	}
	return errs, warnings
}

func ended(c *x509.Certificate) string {
	if c == nil || time.Until(c.NotAfter) >= endsSoon {
		return ""
	}
	word := "ends "
	if time.Now().After(c.NotAfter) {
		word = "has expired, "
	}
	return word + c.NotAfter.UTC().Format(time.RFC3339)
}

// keyError is what is wrong with one key of a section.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// ServiceError places what is wrong with a service.
func ServiceError(s *config.Snapshot, name string, err error) error {
	at := "services." + name
	if key := new(keyError); errors.As(err, &key) {
		at += ".tls." + key.key
	}
	return fmt.Errorf("%s: %w", s.Pos(at), err)
}

// Together joins errors, each line once: what is wrong in a policy is wrong on
// every route that names it.
func Together(errs ...error) error {
	said := map[string]bool{}
	var flat []error
	var add func(err error)
	add = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only what errors.Join made
			for _, e := range many.Unwrap() {
				add(e)
			}
			return
		}
		if err != nil && !said[err.Error()] {
			said[err.Error()] = true
			flat = append(flat, err)
		}
	}
	for _, err := range errs {
		add(err)
	}
	return errors.Join(flat...)
}
