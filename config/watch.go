package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

const (
	watchEvery  = time.Second
	mtimeSettle = 2 * time.Second // coarsest time stamps of file systems in use
)

// Watcher tells when a configuration file, or a file that its secrets were
// read from, has other content. It asks the file system by path, so that a
// file replaced by rename and a Kubernetes volume, which swaps a symbolic link
// above the file, are seen as well as one written in place.
type Watcher struct {
	Path    string
	Files   func() []string // further files, asked every time; may be nil
	Every   time.Duration   // between looks; 1 s when 0
	Log     *slog.Logger
	Changed func()

	// Loaded is the digest of what is in use of a file that is looked at for the first
	// time: it may have changed since it was read. It may be nil, and know nothing.
	Loaded func(path string) (sum [sha256.Size]byte, ok bool)

	seen map[string]*seenFile
}

// Watch runs a Watcher for one file until ctx ends.
func Watch(ctx context.Context, path string, log *slog.Logger, changed func()) {
	(&Watcher{Path: path, Log: log, Changed: changed}).Run(ctx)
}

// Begin takes what the files hold now as known. Called before Load, no change
// is missed; without it, Run begins.
func (w *Watcher) Begin() {
	w.seen = map[string]*seenFile{}
	w.look()
}

// Run calls Changed, from its own goroutine, each time the content is another
// one and was the same in two looks, so that a half-written file is not read.
// A file that is gone keeps its known content. Run returns when ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	if w.seen == nil {
		w.Begin()
	}
	every := w.Every
	if every <= 0 {
		every = watchEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.look() {
				w.Changed()
			}
		}
	}
}

// look reports whether a file has settled on other content.
func (w *Watcher) look() bool {
	paths := []string{w.Path}
	if w.Files != nil {
		paths = append(paths, w.Files()...)
	}
	watched := make(map[string]bool, len(paths))
	settled, moving := false, false
	for _, p := range paths {
		if watched[p] {
			continue
		}
		watched[p] = true
		f := w.seen[p]
		if f == nil {
			f = &seenFile{path: p}
			w.seen[p] = f
			f.look(w.Log)
			f.known = f.last
			if w.Loaded != nil && !f.missing {
				if sum, ok := w.Loaded(p); ok {
					f.known = sum
				}
			}
			continue
		}
		before := f.last
		if !f.look(w.Log) || f.last == f.known {
			continue
		}
		if f.last == before {
			settled = true
		} else {
			moving = true
		}
	}
	for p := range w.seen {
		if !watched[p] {
			delete(w.seen, p)
		}
	}
	// Files that change together (a certificate and its key) are told once.
	if !settled || moving {
		return false
	}
	for _, f := range w.seen {
		f.known = f.last
	}
	return true
}

// seenFile is what is known of one file.
type seenFile struct {
	path    string
	info    fs.FileInfo // of the last look that hashed
	hashed  time.Time
	last    [sha256.Size]byte // content at the last look
	known   [sha256.Size]byte // content that was told
	missing bool
}

// look hashes the content unless stat shows that it cannot have changed. It
// reports whether there is a file.
func (f *seenFile) look(log *slog.Logger) bool {
	info, err := os.Stat(f.path)
	if err == nil && f.unchanged(info) {
		return true
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	var sum [sha256.Size]byte
	if err == nil {
		sum, err = hashFile(f.path)
	}
	if err != nil {
		if !f.missing && log != nil {
			log.Warn("config: a watched file cannot be read, what is known of it is kept", "file", f.path, "error", err)
		}
		f.missing, f.info = true, nil
		return false
	}
	f.missing = false
	f.info, f.hashed, f.last = info, time.Now(), sum
	return true
}

// unchanged is sure only once the time stamp is older than what a file system
// may round it to.
func (f *seenFile) unchanged(info fs.FileInfo) bool {
	return f.info != nil && os.SameFile(f.info, info) && f.info.Size() == info.Size() &&
		f.info.ModTime().Equal(info.ModTime()) && f.hashed.Sub(info.ModTime()) > mtimeSettle
}

func hashFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	// More than can be loaded need not be told apart.
	if _, err := io.Copy(h, io.LimitReader(f, maxFileSize+1)); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
