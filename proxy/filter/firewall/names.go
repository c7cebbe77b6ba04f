package firewall

import "slices"

// The internal tokens. They never come from outside and never leave.
const (
	TxnToken = "Txn-Token"
	HopToken = "Hop-Token"
)

// DefaultNames lists what is reserved unless configuration says otherwise:
// names by which Lintel or a proxy commonly used in its place tells an
// application who is calling, and two that make applications route past their
// own access rules. Credentials that clients legitimately send (Authorization,
// Cookie, X-Api-Key, X-Auth-Token, X-Access-Token) are not on it, nor are signed assertions of
// an edge in front of Lintel, which the application verifies itself.
func DefaultNames() []string {
	return slices.Clone([]string{
		// Lintel's own.
		TxnToken, HopToken, "X-Lintel-*",
		// The user, as gateways hand it on (Lintel, Kong, oauth2-proxy, Traefik, Authelia).
		"X-User-*", "X-Userinfo", "X-Username", "X-Userid",
		"X-Authenticated-*", "X-Jwt-*", "X-Id-Token",
		"X-Auth-Request-*", "X-Auth-User-*", "X-Auth-Username", "X-Auth-Email", "X-Auth-Groups",
		"X-Auth-Roles", "X-Auth-Subject", "X-Auth-Name",
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
		"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
		"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name",
		"X-Remote-User", "X-Remote-Group", "X-Remote-Groups", "X-Remote-Extra-*", "X-Remote-Email", "X-Remote-Name",
		"Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-*",
		// The API client (Kong).
		"X-Consumer-*", "X-Credential-*", "X-Anonymous-Consumer",
		// The client certificate (RFC 9440, Envoy, Traefik, nginx and HAProxy customs).
		"Client-Cert", "Client-Cert-Chain",
		"X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info",
		"X-Client-Cert-*", "X-Client-Certificate-*", "X-Client-Verify", "X-Client-Dn", "X-Ssl-*", "Ssl-Client-*",
		// What an Envoy further in would take for its own edge's word.
		"X-Envoy-*",
		// Attacks: another path than the one that was authorised, and httpoxy.
		"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "Proxy",
	})
}

// defaultAllowed are names under a reserved beginning that say nothing of
// identity: gRPC-Web clients send X-User-Agent.
func defaultAllowed() []string { return []string{"X-User-Agent"} }

// Default returns the set of DefaultNames.
func Default() *Set {
	s, err := NewSet(DefaultNames()...)
	if err == nil {
		s, err = s.Except(defaultAllowed()...)
	}
	if err != nil {
		panic(err) // the list above is wrong: a programmer's error, found by any test
	}
	return s
}
