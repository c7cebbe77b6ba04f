// Package demo runs the whole of Lintel in one process: an ingress, three small
// services with a sidecar each, a catalog and a certificate authority.
package demo
