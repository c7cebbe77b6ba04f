package listen

import (
	"fmt"
	"time"
)

// FileError says which of a pair's files is at fault.
type FileError struct {
	Key string // "cert" or "key"
	Err error
}

func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with it.
func (e *FileError) Unwrap() error { return e.Err }

// Check reads a pair as a listener would, and says when its certificate ends.
// Its error is a *FileError.
func (p Pair) Check() (ends time.Time, err error) {
	if _, err := readFile(p.Cert); err != nil {
		return ends, &FileError{"cert", fmt.Errorf("listen: certificate file: %w", err)}
	}
	if _, err := readFile(p.Key); err != nil {
		return ends, &FileError{"key", fmt.Errorf("listen: key file: %w", err)}
	}
	cert, _, err := p.load()
	if err != nil {
		return ends, &FileError{"cert", err}
	}
	return cert.Leaf.NotAfter, nil
}

// CheckCA reads a file of CAs for client certificates as a listener would.
func CheckCA(path string) error {
	_, _, err := bundle(path)
	return err
}
