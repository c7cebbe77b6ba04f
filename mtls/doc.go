// Package mtls turns an identity source (the SPIFFE Workload API, Consul's
// Connect CA, or an embedded CA for development) into TLS configs and verified
// peers.
//
// A [Source] always holds the newest identity; TLS configs ask it at every
// handshake, so rotation needs no reload and drops no connection. An identity
// that has expired is never used: handshakes fail and say so.
package mtls
