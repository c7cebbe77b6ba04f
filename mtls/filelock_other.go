//go:build !unix

package mtls

import "errors"

func withFileLock(string, func() error) error {
	return errors.New("a CA shared in a directory needs file locks, which are used on Unix only: leave the directory empty to keep the CA in memory")
}
