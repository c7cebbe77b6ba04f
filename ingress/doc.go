// Package ingress is the north-south composition: the API gateway at the edge.
// Read ingress.go from top to bottom for the boot order, and compile.go for how
// a snapshot becomes a table.
package ingress
