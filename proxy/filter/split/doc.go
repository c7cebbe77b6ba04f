// Package split gives each exchange to one of several services, by conditions,
// by where its client was before, or by weight, and takes the weight of a side
// that does worse than the first.
package split
