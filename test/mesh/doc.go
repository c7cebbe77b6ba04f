// Package mesh proves what callers see while parts of a mesh of real processes
// die, are cut off and come back. docs/failures.md is its table of results.
package mesh
