package discovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/cluster"
)

const (
	cacheFileLimit = 16 << 20        // bytes; about 50,000 endpoints
	cacheCloseWait = 5 * time.Second // a disk that hangs does not hold up the end of the process
)

// record is one query's last known endpoints.
type record struct {
	Key       string             `json:"key"`
	Query     Query              `json:"query"`
	At        time.Time          `json:"at"`
	Endpoints []cluster.Endpoint `json:"endpoints"`
}

// sealed is the file's form: the sum tells a damaged file from a whole one.
type sealed struct {
	Sum    string          `json:"sha256"`
	Record json.RawMessage `json:"record"`
}

// cache keeps records as files, and when they were last confirmed in a file of
// its own. A goroutine writes them, so that a slow disk delays nobody, and no
// failure of the disk is more than a warning.
type cache struct {
	dir  string
	log  *slog.Logger
	wake chan struct{}
	quit chan struct{}
	done chan struct{}

	mu        sync.Mutex
	pending   map[string]record // to be written
	confirmed confirmations
}

func openCache(dir string, log *slog.Logger) *cache {
	c := &cache{dir: filepath.Join(dir, "discovery"), log: log, wake: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}), pending: map[string]record{}}
	c.confirmed = openConfirmations(filepath.Join(c.dir, "confirmed"), log)
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		log.Warn("discovery: cannot use the cache folder; endpoints are not kept across restarts", "dir", c.dir, "error", err)
	}
	go c.write()
	return c
}

func (c *cache) save(r record) {
	c.mu.Lock()
	c.pending[r.Key] = r
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// confirm says that what was last saved of a key still held at a time.
func (c *cache) confirm(key string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, waiting := c.pending[key]; waiting {
		r.At = at
		c.pending[key] = r
		return
	}
	c.confirmed.note(c.name(key), at)
}

func (c *cache) write() {
	defer close(c.done)
	confirming := time.NewTicker(confirmEvery)
	defer confirming.Stop()
	for {
		select {
		case <-c.wake:
			c.flush()
		case <-confirming.C:
			c.flush() // also what could not be written before
			c.flushConfirmed()
		case <-c.quit:
			c.flush()
			c.flushConfirmed()
			return
		}
	}
}

func (c *cache) flush() {
	c.mu.Lock()
	pending := c.pending
	c.pending = map[string]record{}
	c.mu.Unlock()
	for _, r := range pending {
		sum, err := c.put(r)
		c.mu.Lock()
		if _, newer := c.pending[r.Key]; err == nil {
			c.confirmed.wrote(c.name(r.Key), sum, r.At)
		} else if !newer {
			c.pending[r.Key] = r
		}
		c.mu.Unlock()
		if err != nil {
			c.log.Warn("discovery: could not keep the last known endpoints on disk; they are in memory only", "service", r.Query.String(), "error", err)
		}
	}
}

func (c *cache) flushConfirmed() {
	c.mu.Lock()
	text := c.confirmed.news()
	c.mu.Unlock()
	if text == nil {
		return
	}
	if err := replaceFile(c.confirmed.path, text); err != nil {
		c.log.Warn("discovery: could not keep on disk when endpoints were last confirmed; they will look older than they are", "error", err)
	}
}

func (c *cache) close() {
	close(c.quit)
	select {
	case <-c.done:
	case <-time.After(cacheCloseWait):
		c.log.Warn("discovery: the disk is too slow; the last known endpoints may not be kept", "dir", c.dir)
	}
}

// name is the file's, without its extension.
func (c *cache) name(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

func (c *cache) path(key string) string { return filepath.Join(c.dir, c.name(key)+".json") }

// put replaces the file of a record.
func (c *cache) put(r record) (sum string, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	text, sum, err = seal(text)
	if err != nil {
		return "", err
	}
	return sum, replaceFile(c.path(r.Key), text)
}

func seal(text []byte) (_ []byte, sum string, err error) {
	h := sha256.Sum256(text)
	sum = hex.EncodeToString(h[:])
	text, err = json.Marshal(sealed{Sum: sum, Record: text})
	return text, sum, err
}

// unseal returns what a whole file holds.
func unseal(text []byte) (sealed, error) {
	if len(text) > cacheFileLimit {
		return sealed{}, fmt.Errorf("discovery: more than %d bytes", cacheFileLimit)
	}
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return sealed{}, fmt.Errorf("discovery: not a sealed record: %w", err)
	}
	if sum := sha256.Sum256(s.Record); s.Sum != hex.EncodeToString(sum[:]) {
		return sealed{}, errors.New("discovery: its checksum does not match")
	}
	return s, nil
}

// replaceFile writes a file that only we may read, in one step: a crash leaves the
// old or the new one. Its folder may have been removed, or come back.
func replaceFile(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// load finds the record of a key; a missing or damaged file is none.
func (c *cache) load(key string) (record, bool) {
	c.mu.Lock()
	r, waiting := c.pending[key]
	last := c.confirmed.of(c.name(key))
	c.mu.Unlock()
	if waiting {
		return r, true
	}
	text, err := readFile(c.path(key))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("discovery: cannot read the last known endpoints", "error", err)
		}
		return record{}, false
	}
	r, err = openRecord(text, key, last)
	if err != nil {
		c.log.Warn("discovery: the file of last known endpoints is damaged; ignored", "file", c.path(key), "error", err)
		return record{}, false
	}
	return r, true
}

// readFile reads one byte more than unseal takes, at most.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, cacheFileLimit+1))
}

func openRecord(text []byte, key string, last confirmation) (record, error) {
	s, err := unseal(text)
	if err != nil {
		return record{}, err
	}
	var r record
	dec := json.NewDecoder(bytes.NewReader(s.Record))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return record{}, fmt.Errorf("discovery: not a record: %w", err)
	}
	if r.Key != key {
		return record{}, fmt.Errorf("discovery: it belongs to %q", r.Key)
	}
	for _, e := range r.Endpoints {
		if _, _, err := net.SplitHostPort(e.Address); err != nil {
			return record{}, fmt.Errorf("discovery: address %q: %w", e.Address, err)
		}
	}
	if last.Sum == s.Sum && last.At.After(r.At) {
		r.At = last.At
	}
	if r.At.After(time.Now()) { // the clock was set back: its age is unknown, not negative
		r.At = time.Now()
	}
	r.Endpoints = tidy(r.Endpoints)
	return r, nil
}

// queryKey is one text per distinct query.
func queryKey(q Query) string {
	q.Tags = slices.Clone(q.Tags)
	slices.Sort(q.Tags)
	q.Tags = slices.Compact(q.Tags)
	text, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and a bool always marshal
	}
	return string(text)
}
