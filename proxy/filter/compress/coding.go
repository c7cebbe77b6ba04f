package compress

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encoder is what the three libraries have in common.
type encoder interface {
	io.Writer
	Reset(io.Writer)
	Flush() error
	Close() error
}

// coding is one content coding with its encoders that are not in use.
type coding struct {
	name string
	pool sync.Pool
}

// window bounds what an encoder looks back on, and so its memory: about 1 MiB
// per answer that is being compressed. Browsers take up to 8 MiB of zstd (RFC
// 9659).
const (
	zstdWindow   = 256 << 10
	brotliWindow = 18 // 256 KiB, as a power of two
)

func newCoding(name, effort string) (*coding, error) {
	level, ok := map[string]int{"low": 0, "medium": 1, "high": 2}[effort]
	if !ok {
		return nil, fmt.Errorf("effort %q is not low, medium or high", effort)
	}
	c := &coding{name: name}
	switch name {
	case "gzip":
		n := [...]int{4, 6, 9}[level]
		c.pool.New = func() any {
			w, _ := gzip.NewWriterLevel(nil, n) // the level is one that there is
			return w
		}
	case "br":
		n := [...]int{3, 4, 6}[level]
		c.pool.New = func() any { return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: n, LGWin: brotliWindow}) }
	case "zstd":
		n := [...]zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression}[level]
		options := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(n), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true)}
		if _, err := zstd.NewWriter(nil, options...); err != nil {
			return nil, err
		}
		c.pool.New = func() any {
			w, _ := zstd.NewWriter(nil, options...) // they were tried
			return w
		}
	default:
		return nil, fmt.Errorf("found %q, want zstd, br or gzip", name)
	}
	return c, nil
}

func (c *coding) take(w io.Writer) encoder {
	e := c.pool.Get().(encoder)
	e.Reset(w)
	return e
}

func (c *coding) giveBack(e encoder) {
	e.Reset(nil)
	c.pool.Put(e)
}

// slots bounds how many encoders work at once: compression must not take every
// core from forwarding.
type slots chan struct{}

// do runs work in a slot, waiting for one no longer than ctx lasts.
func (s slots) do(ctx context.Context, work func() error) error {
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s }()
	return work()
}
