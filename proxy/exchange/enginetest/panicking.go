package enginetest

import "io"

// Panicking is a body as a filter with a fault may make it: reading it panics, or
// with OnClose closing it.
type Panicking struct {
	io.Reader
	OnClose bool
}

func (p Panicking) Read(b []byte) (int, error) {
	if !p.OnClose {
		panic("a filter's body")
	}
	return p.Reader.Read(b)
}

// Close implements io.Closer.
func (p Panicking) Close() error {
	if p.OnClose {
		panic("a filter's body, when it is closed")
	}
	return nil
}
