package ipfilter

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// file is a list in a file, read again when it changes. A list that cannot be
// read keeps the one before in force.
type file struct {
	path  string
	table atomic.Pointer[table]
	log   *slog.Logger

	seen os.FileInfo
	bad  string // what was last complained of

	stop chan struct{}
	done sync.WaitGroup
}

func openFile(path string, every time.Duration, log *slog.Logger) (*file, error) {
	f := &file{path: path, log: log, stop: make(chan struct{})}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				f.look()
			}
		}
	})
	return f, nil
}

// look reads the file again if it is another one or another content.
func (f *file) look() {
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(f.seen, info) && info.Size() == f.seen.Size() && info.ModTime().Equal(f.seen.ModTime()) && f.bad == "" {
		return
	}
	if err == nil {
		err = f.read()
	}
	complaint := ""
	if err != nil {
		complaint = err.Error()
	}
	if complaint != f.bad && complaint != "" && f.log != nil {
		f.log.Warn("ip_filter: the list cannot be read, the one before stays in force", "file", f.path, "error", complaint)
	}
	f.bad = complaint
}

func (f *file) read() error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return fmt.Errorf("%s is no regular file of at most %d bytes", f.path, maxFile)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return err
	}
	list, err := parseList(f.path, string(text))
	if err != nil {
		return err
	}
	f.table.Store(newTable(list))
	f.seen = info
	return nil
}

// Close implements io.Closer.
func (f *file) Close() error {
	close(f.stop)
	f.done.Wait()
	return nil
}
