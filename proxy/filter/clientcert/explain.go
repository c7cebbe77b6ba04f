package clientcert

import "lintel.dev/lintel/proxy/exchange"

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	cert := shown(x)
	if cert == nil {
		return "no client certificate"
	}
	s := "a client certificate for " + cert.Subject.String() + " by " + cert.Issuer.String()
	if h := f.holder(cert); h.consumer != nil {
		return s + ", of consumer " + h.consumer.Name
	}
	return s + ", of no consumer"
}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}

// Strip implements credential.Stripper: the certificate that is handed on comes
// off.
func (f *Filter) Strip(x *exchange.Exchange) { x.Request.Header.Del(clientCert) }
