//go:build !unix

package acme

import (
	"errors"
	"os"
)

func tryLock(string) (*os.File, error) {
	return nil, errors.New("a directory that processes share needs file locks, which are used on Unix only")
}
