package acme

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// lockEvery is how often a lock that another holds is tried again.
const lockEvery = 100 * time.Millisecond

// storage is a directory that several processes may share. Its locks are the
// kernel's: those of a process that dies are free at once.
type storage struct {
	certmagic.FileStorage
	mu    sync.Mutex
	locks map[string]*os.File
}

func openStorage(dir string) (*storage, error) {
	s := &storage{FileStorage: certmagic.FileStorage{Path: dir}, locks: map[string]*os.File{}}
	if err := os.MkdirAll(filepath.Join(dir, "locks"), 0o700); err != nil {
		return nil, fmt.Errorf("acme: the directory for certificates must be one that Lintel's user may write to: %w", err)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, fmt.Errorf("acme: the directory for certificates must be one that Lintel's user may write to: %w", err)
	}
	return s, errors.Join(f.Close(), os.Remove(f.Name()))
}

// Lock implements certmagic.Locker.
func (s *storage) Lock(ctx context.Context, name string) error {
	path := filepath.Join(s.Path, "locks", certmagic.StorageKeys.Safe(name)+".flock")
	for {
		f, err := tryLock(path)
		if err != nil {
			return fmt.Errorf("acme: lock %s: %w", path, err)
		}
		if f != nil {
			s.mu.Lock()
			s.locks[name] = f
			s.mu.Unlock()
			return nil
		}
		t := time.NewTimer(lockEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	f := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if f == nil {
		return fmt.Errorf("acme: %s is not locked", name)
	}
	return f.Close() // which also unlocks
}
