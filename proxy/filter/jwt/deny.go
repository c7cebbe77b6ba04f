package jwt

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Denials says which tokens were withdrawn before they expire. It is asked for
// every request and answers from memory: one that is kept elsewhere follows it.
type Denials interface {
	Denied(issuer, jti string, now time.Time) bool
	// Read is when the list was last known to be complete: zero when it never was.
	Read() time.Time
}

const (
	denyEvery   = 2 * time.Second // how often the file is looked at
	maxDenyFile = 32 << 20        // bytes
	maxJTI      = 256             // bytes
	maxIssuer   = 1024            // bytes
)

// denials is a list and what becomes of tokens while it is not known.
type denials struct {
	Denials
	maxStale time.Duration // refused when it was not known for so long; 0: they pass
}

// denyFile is a list in a file, followed by one goroutine. It lives in the
// store and survives reloads.
type denyFile struct {
	path   string
	log    *slog.Logger
	list   atomic.Pointer[map[string]time.Time] // when the entry ends, zero: never
	stamp  stamp                                // of what was read last; the goroutine's own
	failed string                               // what was logged last
	cancel context.CancelFunc
	done   chan struct{}
}

// stamp is what a file looks like from outside.
type stamp struct {
	mtime time.Time
	size  int64
}

func newDenyFile(path string, log *slog.Logger) (*denyFile, error) {
	d := &denyFile{path: path, log: log, done: make(chan struct{})}
	if err := d.read(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.follow(ctx)
	return d, nil
}

// Close stops following the file.
func (d *denyFile) Close() error {
	d.cancel()
	<-d.done
	return nil
}

// Denied implements Denials.
func (d *denyFile) Denied(_, jti string, now time.Time) bool {
	until, listed := (*d.list.Load())[jti]
	return listed && (until.IsZero() || now.Before(until))
}

// Read implements Denials. A file that cannot be read leaves the list as it is,
// and that is what counts then.
func (d *denyFile) Read() time.Time { return time.Now() }

func (d *denyFile) follow(ctx context.Context) {
	defer close(d.done)
	tick := time.NewTicker(denyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.poll()
		}
	}
}

// poll reads the file again if it looks different, or could not be read before.
// What cannot be read changes nothing: nobody is let in again by a mishap, such as
// a file that is empty because it is just being written, or its disk is full.
func (d *denyFile) poll() {
	now, err := look(d.path)
	if err == nil && now == d.stamp && d.failed == "" {
		return
	}
	if err == nil {
		err = d.read()
	}
	switch {
	case err == nil:
		d.failed = ""
		d.log.Info("jwt: deny list read", "file", d.path, "tokens", len(*d.list.Load()))
	case err.Error() != d.failed:
		d.failed = err.Error()
		d.log.Error("jwt: deny list not read, the old one stays", "file", d.path, "err", err)
	}
}

func look(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, fmt.Errorf("%s is no regular file", path)
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

func (d *denyFile) read() error {
	// The stamp is taken first: a change while the file is read is seen next time.
	at, err := look(d.path)
	if err != nil {
		return err
	}
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDenyFile+1))
	if err != nil {
		return err
	}
	if old := d.list.Load(); len(data) == 0 && old != nil && len(*old) > 0 {
		return fmt.Errorf("%s is empty: a list from which all are taken off holds a comment", d.path)
	}
	list, err := parseDenied(data)
	if err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	d.list.Store(&list)
	d.stamp = at
	return nil
}

func parseDenied(data []byte) (map[string]time.Time, error) {
	if len(data) > maxDenyFile {
		return nil, fmt.Errorf("larger than %d bytes", maxDenyFile)
	}
	list := map[string]time.Time{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var until time.Time
		if len(words) > 1 && !strings.HasPrefix(words[1], "#") {
			var err error
			if until, err = time.Parse(time.RFC3339, words[1]); err != nil {
				return nil, fmt.Errorf("line %d: after the jti want nothing or a time like 2006-01-02T15:04:05Z", n)
			}
		}
		if len(words[0]) > maxJTI {
			return nil, fmt.Errorf("line %d: a jti of more than %d bytes", n, maxJTI)
		}
		list[words[0]] = until
	}
	return list, lines.Err()
}

// withdrawn checks on every request, also for a token that was verified before.
func (f *Filter) withdrawn(x *exchange.Exchange, good *verified) *refusal {
	if good.jti == "" {
		return badToken("claim jti is missing", nil)
	}
	now := f.now()
	for i := range f.denials {
		d := &f.denials[i]
		if d.Denied(good.identity.Issuer, good.jti, now) {
			return &refusal{status: http.StatusUnauthorized, code: "token-denied", oauth: "invalid_token", text: "the token was withdrawn"}
		}
		if x.Shadow && d.Read().IsZero() {
			x.NotAsked("the deny list in Redis") // explain without a running Lintel
			continue
		}
		if d.maxStale > 0 && time.Since(d.Read()) > d.maxStale {
			return &refusal{status: http.StatusServiceUnavailable, code: "denials-unknown", retry: d.maxStale,
				text: "whether the token was withdrawn cannot be found out"}
		}
	}
	return nil
}
