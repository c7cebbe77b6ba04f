// Package acme obtains and renews the certificates of listeners from an ACME
// server (RFC 8555): it answers the challenges HTTP-01 (RFC 8555 section 8.3) and
// TLS-ALPN-01 (RFC 8737) through the listeners that are open anyway, and opens
// none of its own.
package acme
