package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// TestWhatCannotBeReadIsKept: a key that cannot be read for a while costs no
// certificate and no order.
func TestWhatCannotBeReadIsKept(t *testing.T) {
	var s shelf
	c := good(t.TempDir())
	c.Publish = s.put
	ca := &fakeCA{validity: time.Hour}
	m, stop := manage(t, c, ca)
	until(t, "the certificate", func() bool { return s.serial("one.test") == 1 })
	stop()
	file := m.storage.(*storage).Filename(certmagic.StorageKeys.SitePrivateKey(ca.IssuerKey(), "one.test"))
	if err := errors.Join(os.Rename(file, file+".away"), os.Mkdir(file, 0o700)); err != nil { // reading it: EISDIR
		t.Fatal(err)
	}
	m, _ = manage(t, c, ca)
	until(t, "a failure that is told", func() bool { return strings.Contains(m.Status()[0].Err, "is a directory") })
	until(t, "another attempt", func() bool { return failures(m) > 2 })
	if err := errors.Join(os.Remove(file), os.Rename(file+".away", file)); err != nil {
		t.Fatal(err)
	}
	until(t, "the certificate of before", func() bool { return s.serial("one.test") == 1 })
	if n := ca.asked.Load(); n != 1 {
		t.Errorf("the CA was asked %d times", n)
	}
}

func failures(m *Manager) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.domains[0].failures
}

// TestWhatIsLostIsObtainedAgain when a renewal is due and finds nothing to renew.
func TestWhatIsLostIsObtainedAgain(t *testing.T) {
	var s shelf
	c := good(t.TempDir())
	c.Publish = s.put
	ca := &fakeCA{validity: 3 * time.Second}
	manage(t, c, ca)
	until(t, "the certificate", func() bool { return s.serial("one.test") == 1 })
	if err := os.RemoveAll(filepath.Join(c.Dir, "certificates")); err != nil {
		t.Fatal(err)
	}
	until(t, "another", func() bool { return s.serial("one.test") > 1 })
}

// fullDisk has room for some writes.
type fullDisk struct {
	certmagic.Storage
	room atomic.Int64
}

func (f *fullDisk) Store(ctx context.Context, key string, value []byte) error {
	if f.room.Add(-1) < 0 {
		return &os.PathError{Op: "write", Path: key, Err: syscall.ENOSPC}
	}
	return f.Storage.Store(ctx, key, value)
}

// TestFullDisk: wherever in a renewal the disk is full, the certificate in use
// stays, the log says why, and the renewal succeeds once there is room.
func TestFullDisk(t *testing.T) {
	for _, room := range []int64{0, 1, 2, 3} { // the test write, key, certificate, what the CA says of it
		var s shelf
		var logged lines
		c := good(t.TempDir())
		c.Publish, c.Log = s.put, slog.New(slog.NewTextHandler(&logged, nil))
		c.times.refused = 5 * time.Millisecond
		disk := &fullDisk{}
		disk.room.Store(1 << 40)
		ca := &fakeCA{validity: 3 * time.Second, fail: func(n int64) error {
			if n == 2 {
				disk.room.Store(room - 1)
			}
			return nil
		}}
		if room == 0 {
			ca.fail = nil
		}
		m, stop := manage(t, c, ca, func(m *Manager) {
			disk.Storage = m.storage
			m.storage, m.magic.Storage = disk, disk
		})
		until(t, "the certificate", func() bool { return s.serial("one.test") == 1 })
		if room == 0 {
			disk.room.Store(0)
		}
		until(t, fmt.Sprintf("a failure that is told, with room for %d writes", room), func() bool { return strings.Contains(m.Status()[0].Err, "no space left") })
		if got := s.serial("one.test"); got != 1 {
			t.Errorf("room for %d writes: certificate %d is shown, expected the one of before", room, got)
		}
		until(t, fmt.Sprintf("the log's word of it, with room for %d writes", room), func() bool { // just after the status
			return strings.Contains(logged.String(), "acme: no certificate obtained") && strings.Contains(logged.String(), "no space left")
		})
		disk.room.Store(1 << 40)
		until(t, "another, once there is room", func() bool { return s.serial("one.test") > 1 })
		stop()
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
