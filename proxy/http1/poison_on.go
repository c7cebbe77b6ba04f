//go:build poison

package http1

// poison makes whoever kept a view into a released buffer find out: tests run
// with -tags poison see garbage where a string should have been cloned.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
