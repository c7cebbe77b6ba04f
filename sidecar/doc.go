// Package sidecar is the east-west composition: it stands next to one service,
// takes calls for it over mTLS, and carries the service's own calls to others.
package sidecar
