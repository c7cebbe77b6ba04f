//go:build linux && !race

package mux

import (
	"io"
	"runtime"
	"testing"
)

// A request and its answer on a stream that is there cost no memory.
func TestExchangeDoesNotAllocate(t *testing.T) {
	b := make([]byte, 300)
	d, _ := pair(t, always(ready(func(st *Stream) bool {
		_, err := io.ReadFull(st, b[:200])
		if err == nil {
			_, err = st.Write(b)
		}
		if err != nil {
			_ = st.Close()
		}
		return err == nil
	})))
	const n = 2000
	var before, after runtime.MemStats
	do(t, d.loop, func() {
		st := d.Open()
		p := make([]byte, 300)
		once := func() {
			if _, err := st.Write(p[:200]); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(st, p); err != nil {
				t.Error(err)
			}
		}
		for range 200 {
			once()
		}
		runtime.ReadMemStats(&before)
		for range n {
			once()
		}
		runtime.ReadMemStats(&after)
	})
	if per := float64(after.Mallocs-before.Mallocs) / n; per > 0.1 {
		t.Errorf("%.2f allocations per request and answer", per)
	}
}
