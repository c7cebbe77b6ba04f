// Package system proves what the whole of Lintel does: the real binary as
// separate processes for ingress and sidecars, talked to with real clients.
package system
