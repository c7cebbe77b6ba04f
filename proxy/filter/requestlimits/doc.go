// Package requestlimits bounds what a request to a route may bring: how many
// bytes of which type and coding.
package requestlimits
