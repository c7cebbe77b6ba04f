package exchange

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

type woken struct{ n atomic.Int32 }

func (w *woken) Wake() { w.n.Add(1) }

func TestALifeEndsOnceAndSaysWhy(t *testing.T) {
	why := errors.New("why")
	x := &Exchange{}
	if x.Ended() != nil {
		t.Fatal("ended before it began")
	}
	ctx := x.Context()
	var a, b, c woken
	life := x.Life()
	life.Watch(&a)
	life.Watch(&b)
	life.Watch(&c)
	life.Unwatch(&b)
	x.Cancel(why)
	x.Cancel(errors.New("too late"))
	if x.Ended() != why || context.Cause(ctx) != why || a.n.Load() != 1 || b.n.Load() != 0 || c.n.Load() != 1 {
		t.Fatal(x.Ended(), context.Cause(ctx), a.n.Load(), b.n.Load(), c.n.Load())
	}
	life.Watch(&b)
	if b.n.Load() != 1 {
		t.Error("who watches what has ended is not told")
	}
}

func TestALifeMadeLateIsEndedToo(t *testing.T) {
	x := &Exchange{}
	x.Cancel(nil)
	if x.Context().Err() == nil || x.Ended() == nil {
		t.Error("a context made after the end goes on")
	}
}

func TestALifeEndsWithWhatIsAboveIt(t *testing.T) {
	above, cancel := context.WithCancelCause(context.Background())
	x := &Exchange{}
	x.Begin(above)
	var w woken
	x.Life().Watch(&w)
	why := errors.New("why")
	cancel(why)
	for deadline := time.Now().Add(10 * time.Second); w.n.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if w.n.Load() != 1 || x.Ended() != why {
		t.Error(w.n.Load(), x.Ended())
	}
}

func TestWhoEndsAnExchangeTooLateEndsNothingElse(t *testing.T) {
	x := &Exchange{}
	before := x.Life()
	x.RunDone()
	x.Reset()
	_ = x.Life()
	before.Cancel(errors.New("late"))
	if x.Ended() != nil {
		t.Error("the next exchange was ended")
	}
}

func TestExpire(t *testing.T) {
	why := errors.New("why")
	x := &Exchange{}
	x.Expire(time.Hour, why)
	if !x.Unexpire() || x.Ended() != nil {
		t.Error("taken back in time, and yet ended")
	}
	x.Expire(time.Nanosecond, why)
	<-x.Context().Done()
	if x.Unexpire() || x.Ended() != why {
		t.Error(x.Ended())
	}
}
