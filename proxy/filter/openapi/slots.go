package openapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// slots bounds how many bodies are checked at once: a schema can make a body of
// a few kilobytes cost a core for a while.
type slots chan struct{}

// longestWait is for how long a body waits for a slot, held in memory.
const longestWait = time.Second

var errBusy = errors.New("openapi: as many bodies are checked as may be")

// do runs work in a slot. It waits for one no longer than limit, nor than ctx
// lasts.
func (s slots) do(ctx context.Context, limit time.Duration, work func()) error {
	select {
	case s <- struct{}{}:
	default:
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case s <- struct{}{}:
		case <-t.C:
			return errBusy
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() { <-s }()
	work()
	return nil
}

func busy() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "validation-busy",
		Title: "Too busy to check the request", Detail: "as many bodies are being checked as may be at once",
		RetryAfter: longestWait, Err: errBusy}
}
