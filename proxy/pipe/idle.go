package pipe

import (
	"errors"
	"io"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

var errStreamIdle = errors.New("pipe: the service's answer stalled for longer than stream_idle")

// idleLimit prepares to cut an answer whose body stalls for longer than d. It
// must be called before x is forwarded: it is by cancelling the exchange that a
// read in progress is woken. Closing the body from another goroutine would give
// its connection to somebody else while it is still being read.
func idleLimit(x *exchange.Exchange, d time.Duration) *idleBody {
	b := &idleBody{life: x.Life(), limit: d}
	b.expired = func() { b.life.Cancel(errStreamIdle) }
	x.OnDone(b.stop)
	return b
}

type idleBody struct {
	io.ReadCloser
	life    *exchange.Life
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
	if err != nil && err != io.EOF && errors.Is(b.life.Ended(), errStreamIdle) {
		err = errStreamIdle
	}
	return n, err
}

func (b *idleBody) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// Ready implements what exchange.Ready asks.
func (b *idleBody) Ready() bool { return exchange.Ready(b.ReadCloser) }
