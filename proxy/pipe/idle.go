package pipe

import (
	"context"
	"errors"
	"io"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

var errStreamIdle = errors.New("pipe: the service's answer stalled for longer than stream_idle")

// idleLimit prepares to cut an answer whose body stalls for longer than d. It
// must be called before x is forwarded: it is by ending the exchange's context
// that a read in progress is woken. Closing the body from another goroutine
// would give its connection to somebody else while it is still being read.
func idleLimit(x *exchange.Exchange, d time.Duration) *idleBody {
	ctx, cancel := context.WithCancelCause(x.Context())
	x.SetContext(ctx)
	b := &idleBody{ctx: ctx, limit: d}
	b.expired = func() { cancel(errStreamIdle) }
	x.OnDone(func() { b.stop(); cancel(nil) })
	return b
}

type idleBody struct {
	io.ReadCloser
	ctx     context.Context
	expired func()
	timer   *time.Timer // runs only while the service is being waited for
	limit   time.Duration
}

func (b *idleBody) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = time.AfterFunc(b.limit, b.expired)
	} else {
		b.timer.Reset(b.limit)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errStreamIdle) {
		err = errStreamIdle
	}
	return n, err
}

func (b *idleBody) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}
