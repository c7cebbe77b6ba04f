// Package difftest holds the engine http1 against the reference engine nethttp:
// the same bytes go to a proxy made of either, and whatever http1 passes on the
// reference must pass on too, and the same. Every other difference has its
// reason written down in reasons_test.go.
//
// It has tests only. They reach the engines as any client does.
package difftest
