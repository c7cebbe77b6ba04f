package http1

import (
	"io"
	"log/slog"
	"slices"
	"testing"

	"lintel.dev/lintel/proxy/http1/loop"
)

// Tasks get the mutex in the order in which they asked, whatever else wakes them.
func TestTaskMutexIsHandedOnInOrder(t *testing.T) {
	g, err := loop.New(loop.Config{Loops: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	l := g.Loops()[0]
	m := newLooping(l, 1).mutex()
	var order []int
	done := make(chan struct{})
	l.Post(func() {
		l.Go(func() {
			m.Lock()
			var all []*loop.Task
			for i := range 5 {
				all = append(all, l.Go(func() {
					m.Lock()
					l.Running().Yield()
					order = append(order, i)
					m.Unlock()
				}))
			}
			for range 3 { // they ask, and are woken for nothing
				l.Running().Yield()
				for _, task := range all {
					task.Unpark()
				}
			}
			m.Unlock()
			for _, task := range all {
				task.Join()
			}
			close(done)
		})
	})
	<-done
	if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
		t.Error(order)
	}
}
