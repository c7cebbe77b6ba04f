//go:build !linux

package http1

import "time"

// LoopDelay is 0: there are no event loops.
func LoopDelay(time.Duration) time.Duration { return 0 }
