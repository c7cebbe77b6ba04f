// Package route compiles a Spec into an immutable table, matches exchanges
// against it, and explains why a request matches what it matches.
package route
