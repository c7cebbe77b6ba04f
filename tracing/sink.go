package tracing

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// sink takes lines from many exchanges and writes them from one goroutine.
// Lines gather in one of two buffers while the other is written; when the
// gathering one is full, lines are dropped and counted. No caller ever waits
// for the writer.
type sink struct {
	mu     sync.Mutex
	gather []byte
	lines  int
	closed bool

	limit   int
	delay   time.Duration
	wake    chan struct{} // the first line since the buffers were swapped
	full    chan struct{} // half of the room is taken: do not wait any longer
	quit    chan struct{}
	done    chan struct{}
	written atomic.Uint64
	dropped atomic.Uint64
}

func newSink(w io.Writer, limit int, delay time.Duration, log *slog.Logger) *sink {
	s := &sink{
		limit: limit, delay: delay,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go s.run(w, log)
	return s
}

// put copies line. It reports false when the line was dropped.
func (s *sink) put(line []byte) bool {
	s.mu.Lock()
	before := len(s.gather)
	if s.closed || before+len(line) > s.limit {
		s.mu.Unlock()
		s.dropped.Add(1)
		return false
	}
	s.gather = append(s.gather, line...)
	s.lines++
	after := len(s.gather)
	s.mu.Unlock()
	if before == 0 {
		signal(s.wake)
	}
	if before < s.limit/2 && after >= s.limit/2 {
		signal(s.full)
	}
	return true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *sink) run(w io.Writer, log *slog.Logger) {
	defer close(s.done)
	var (
		spare  []byte
		logged time.Time
		timer  = time.NewTimer(s.delay)
	)
	defer timer.Stop()
	for stop := false; !stop; {
		select {
		case <-s.wake:
			timer.Reset(s.delay)
			select {
			case <-timer.C:
			case <-s.full:
			case <-s.quit:
			}
		case <-s.quit:
			stop = true
		}
		s.mu.Lock()
		batch, lines := s.gather, s.lines
		s.gather, s.lines = spare[:0], 0
		s.mu.Unlock()
		spare = batch
		if len(batch) == 0 {
			continue
		}
		if _, err := w.Write(batch); err != nil {
			s.dropped.Add(uint64(lines))
			if time.Since(logged) >= logEvery {
				logged = time.Now()
				log.Error("access log lines could not be written", "error", err, "lines", lines)
			}
			continue
		}
		s.written.Add(uint64(lines))
	}
}

// close takes no more lines and waits until the rest is written or ctx ends.
func (s *sink) close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tracing: access log is still writing: %w", context.Cause(ctx))
	}
}
