package acme

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// KV is a store that several machines share: the fields of one hash, and locks
// beside it. It may do a thing twice, and must not mind.
type KV interface {
	Get(ctx context.Context, field string) (value []byte, found bool, err error)
	Set(ctx context.Context, field string, value []byte) error
	Delete(ctx context.Context, fields ...string) error
	Fields(ctx context.Context) ([]string, error)

	// Lock takes a lock for ttl, or extends it when the token holds it already;
	// false when another token does.
	Lock(ctx context.Context, name, token string, ttl time.Duration) (bool, error)
	// Unlock frees it, unless another token holds it.
	Unlock(ctx context.Context, name, token string) error
}

const (
	// KeySize is the length of the key that encrypts what is shared: AES-256.
	KeySize = 32

	sealVersion = 1
	sealHeader  = 1 + 8 // version, time of the write
	lockTTL     = 30 * time.Second
	storeFor    = 30 * time.Second // a write is repeated: a certificate that is not kept has been ordered in vain
	storeAgain  = 200 * time.Millisecond
)

// shared is a storage in a KV. Values are encrypted there and bound to their
// names, so that whoever can read and write the store learns no key and cannot
// put one value in another's place.
type shared struct {
	kv   KV
	aead cipher.AEAD
	log  *slog.Logger
	ttl  time.Duration

	mu    sync.Mutex
	locks map[string]*held
}

// held is a lock that is extended until end is called.
type held struct {
	token string
	end   context.CancelFunc
	done  chan struct{}
}

func newShared(kv KV, key []byte, log *slog.Logger) (*shared, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("acme: the storage's key must have %d bytes, found %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &shared{kv: kv, aead: aead, log: log, ttl: lockTTL, locks: map[string]*held{}}, err
}

// await waits until the store answers, or for as long as most.
func (s *shared) await(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		if _, _, err := s.kv.Get(ctx, ""); err == nil || pause(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// seal is the version, the time in nanoseconds (big endian), a nonce, and the
// value under AES-256-GCM with all of what stands before it, and the name.
func (s *shared) seal(name string, value []byte, modified time.Time) []byte {
	out := make([]byte, sealHeader+s.aead.NonceSize(), sealHeader+s.aead.NonceSize()+len(value)+s.aead.Overhead())
	out[0] = sealVersion
	binary.BigEndian.PutUint64(out[1:], uint64(modified.UnixNano()))
	nonce := out[sealHeader:]
	_, _ = rand.Read(nonce) // never fails
	return s.aead.Seal(out, nonce, value, append(out[:sealHeader:sealHeader], name...))
}

// unseal is the reverse.
func (s *shared) unseal(name string, b []byte) (value []byte, modified time.Time, err error) {
	body := sealHeader + s.aead.NonceSize()
	if len(b) < body+s.aead.Overhead() {
		return nil, time.Time{}, fmt.Errorf("acme: %s in the shared storage is cut off: %d bytes", name, len(b))
	}
	if b[0] != sealVersion {
		return nil, time.Time{}, fmt.Errorf("acme: %s in the shared storage has the format %d, expected %d: a newer Lintel wrote it, or it was changed", name, b[0], sealVersion)
	}
	value, err = s.aead.Open(nil, b[sealHeader:body], b[body:], append(b[:sealHeader:sealHeader], name...))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("acme: %s in the shared storage was written with another key than storage.key, or changed; it is left as it is", name)
	}
	return value, time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))), nil
}

func (s *shared) read(ctx context.Context, key string) (value []byte, modified time.Time, err error) {
	b, found, err := s.kv.Get(ctx, key)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("acme: shared storage: %w", err)
	}
	if !found {
		return nil, time.Time{}, fs.ErrNotExist
	}
	return s.unseal(key, b)
}

// Store implements certmagic.Storage. What cannot be opened is not overwritten.
func (s *shared) Store(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	for {
		b, found, err := s.kv.Get(ctx, key)
		if err == nil && found {
			if _, _, err := s.unseal(key, b); err != nil {
				return err
			}
		}
		if err == nil {
			err = s.kv.Set(ctx, key, s.seal(key, value, time.Now()))
		}
		if err == nil {
			return nil
		}
		if pause(ctx, storeAgain) != nil {
			return fmt.Errorf("acme: shared storage: %w", err)
		}
	}
}

// Load implements certmagic.Storage.
func (s *shared) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := s.read(ctx, key)
	return value, err
}

// Delete implements certmagic.Storage.
func (s *shared) Delete(ctx context.Context, key string) error {
	fields, err := s.below(ctx, key)
	if err == nil {
		err = s.kv.Delete(ctx, append(fields, key)...)
	}
	if err != nil {
		return fmt.Errorf("acme: shared storage: %w", err)
	}
	return nil
}

// below lists the keys below one, sorted.
func (s *shared) below(ctx context.Context, key string) ([]string, error) {
	fields, err := s.kv.Fields(ctx)
	if err != nil {
		return nil, err
	}
	fields = slices.DeleteFunc(fields, func(f string) bool { return key != "" && !strings.HasPrefix(f, key+"/") })
	slices.Sort(fields)
	return fields, nil
}

// Exists implements certmagic.Storage. What cannot be read may be there.
func (s *shared) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return !errors.Is(err, fs.ErrNotExist)
}

// List implements certmagic.Storage: as of a folder, with the folders in it.
func (s *shared) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	prefix = strings.Trim(prefix, "/")
	fields, err := s.below(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("acme: shared storage: %w", err)
	}
	if len(fields) == 0 {
		return nil, fs.ErrNotExist
	}
	from := len(prefix) + 1
	if prefix == "" {
		from = 0
	}
	var keys []string
	for _, f := range fields {
		for i := from; i <= len(f); i++ {
			if i == len(f) || f[i] == '/' {
				keys = append(keys, f[:i])
				if !recursive {
					break
				}
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// Stat implements certmagic.Storage.
func (s *shared) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, modified, err := s.read(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: modified, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	fields, err := s.below(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, fmt.Errorf("acme: shared storage: %w", err)
	}
	if len(fields) == 0 {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// Lock implements certmagic.Locker.
func (s *shared) Lock(ctx context.Context, name string) error {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	token := hex.EncodeToString(random[:])
	for {
		ok, err := s.kv.Lock(ctx, name, token, s.ttl)
		if err != nil {
			_ = s.free(ctx, name, token) // it may have been taken all the same
			return fmt.Errorf("acme: shared storage: lock %s: %w", name, err)
		}
		if ok {
			break
		}
		if err := pause(ctx, lockEvery); err != nil {
			return err
		}
	}
	extend, end := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{token: token, end: end, done: make(chan struct{})}
	s.mu.Lock()
	s.locks[name] = h
	s.mu.Unlock()
	go s.extend(extend, name, h)
	return nil
}

// extend keeps a lock until ctx ends. One whose holder dies ends by itself.
func (s *shared) extend(ctx context.Context, name string, h *held) {
	defer close(h.done)
	for pause(ctx, s.ttl/3) == nil {
		ok, err := s.kv.Lock(ctx, name, h.token, s.ttl)
		if err == nil && !ok {
			s.log.Warn("acme: a lock was lost while the shared storage did not answer; another instance may do the same work", "lock", name)
			return
		}
	}
}

// Unlock implements certmagic.Locker. ctx may have ended.
func (s *shared) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("acme: %s is not locked", name)
	}
	h.end()
	<-h.done
	if err := s.free(ctx, name, h.token); err != nil {
		return fmt.Errorf("acme: shared storage: unlock %s, which ends by itself within %s: %w", name, s.ttl, err)
	}
	return nil
}

func (s *shared) free(ctx context.Context, name, token string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return s.kv.Unlock(ctx, name, token)
}
