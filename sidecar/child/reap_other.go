//go:build !linux

package child

// Reap does nothing: only Linux has containers whose process 1 we could be.
func Reap(int) (stop func()) { return func() {} }
