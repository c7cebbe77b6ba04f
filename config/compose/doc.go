// Package compose turns sections of a snapshot into running parts the same way
// for both modes: identity, clusters, filters, observers, admin and reload. The
// modes decide which parts they have and in which order they start.
package compose
