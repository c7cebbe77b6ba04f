package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestBytesIsReadAgainAfterRewind(t *testing.T) {
	b := NewBody([]byte("hello"))
	for range 2 {
		if b.Len() != 5 {
			t.Fatal(b.Len())
		}
		small := make([]byte, 2)
		if n, err := b.Read(small); n != 2 || err != nil || string(small) != "he" {
			t.Fatal(n, err)
		}
		var w bytes.Buffer
		if n, err := b.WriteTo(&w); n != 3 || err != nil || w.String() != "llo" {
			t.Fatal(n, err, w.String())
		}
		if n, err := b.Read(small); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		if n, err := b.WriteTo(&w); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		b.Rewind()
	}
}

type closer struct {
	io.Reader
	io.Writer
	closed int
}

func (c *closer) Close() error { c.closed++; return nil }

func TestResetKeepsNothing(t *testing.T) {
	x := &Exchange{}
	fill := func() {
		x.Request.Header.Add("a", "secret")
		x.Request.Trailer.Add("a", "secret")
		x.Response.Header.Add("a", "secret")
		x.Response.Trailer.Add("a", "secret")
		x.UseSlot(3)
		x.Keep("secret")
		x.OnDone(func() {})
		x.Params = append(x.Params, Param{"a", "secret"}, Param{"b", "secret"})[:1]
		x.Fault, x.Identity, x.Txn, x.Consumer, x.Hold = &Fault{}, &Identity{}, &Txn{}, "secret", 1
		x.Begin(context.WithValue(context.Background(), closer{}, 1))
		x.BeforeWrite = func(*Exchange, *ConnInfo) error { return nil }
	}
	fill()
	x.Reset()
	for _, f := range []*Fields{&x.Request.Header, &x.Request.Trailer, &x.Response.Header, &x.Response.Trailer} {
		if f.Len() != 0 || f.list[:1][0] != (Field{}) {
			t.Error("a field line is left")
		}
	}
	for _, p := range x.Params[:cap(x.Params)] {
		if p != (Param{}) {
			t.Error("left", p)
		}
	}
	if x.Kept() != nil || slices.ContainsFunc(x.slots[:cap(x.slots)], func(v any) bool { return v != nil }) {
		t.Error("slots are left")
	}
	if x.onDone[:1][0] != nil || x.life != nil {
		t.Error("functions or context left")
	}
	want := &Exchange{slots: x.slots, onDone: x.onDone, Params: x.Params}
	want.Request.Header, want.Request.Trailer = x.Request.Header, x.Request.Trailer
	want.Response.Header, want.Response.Trailer = x.Response.Header, x.Response.Trailer
	if !reflect.DeepEqual(x, want) {
		t.Errorf("left: %+v", x)
	}
	if n := testing.AllocsPerRun(20, func() { x.Reset() }); n != 0 {
		t.Error("Reset allocates", n)
	}
}

func TestRunDoneRunsEachOnceLastFirstAndSurvivesPanics(t *testing.T) {
	x := &Exchange{}
	var got []int
	x.OnDone(func() { got = append(got, 1) })
	x.OnDone(func() { panic("two") })
	x.OnDone(func() { got = append(got, 3); x.OnDone(func() { got = append(got, 4) }) })
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			x.RunDone()
		}()
	}
	if !slices.Equal(got, []int{3, 4, 1}) {
		t.Error(got)
	}
}

func TestSlotsBelongToTheirFilter(t *testing.T) {
	x := &Exchange{}
	x.UseSlot(2)
	x.Keep("two")
	x.UseSlot(0)
	if x.Kept() != nil {
		t.Error("another filter's")
	}
	x.UseSlot(7)
	if x.Kept() != nil {
		t.Error("beyond")
	}
	x.UseSlot(2)
	if x.Kept() != "two" {
		t.Error("lost")
	}
}

func TestAnswerDropsWhatWasThere(t *testing.T) {
	x := &Exchange{}
	body, tunnel := &closer{}, &closer{}
	x.Response.Body, x.Response.Tunnel = body, tunnel
	x.Response.Header.Add("Set-Cookie", "old")
	x.Response.Trailer.Add("t", "old")
	x.Answer(418, "text/plain", []byte("tea"))
	if body.closed != 1 || tunnel.closed != 1 || x.Response.Tunnel != nil {
		t.Error("not closed")
	}
	if x.Response.Status != 418 || x.Response.Length != 3 || !slices.Equal(lines(&x.Response.Header), []string{"Content-Type=text/plain"}) || x.Response.Trailer.Len() != 0 {
		t.Errorf("%+v", x.Response)
	}
	x.Answer(204, "", nil)
	if x.Response.Body != nil || x.Response.Header.Len() != 0 {
		t.Errorf("%+v", x.Response)
	}
}

func TestIsGRPC(t *testing.T) {
	for ct, want := range map[string]bool{"application/grpc": true, "Application/gRPC+proto": true, "application/grpc;x=y": true,
		"application/grpc-web": false, "application/json": false, "": false} {
		x := &Exchange{}
		x.Request.Header.Add("content-type", ct)
		if x.IsGRPC() {
			t.Error("over HTTP/1:", ct)
		}
		x.Request.Proto = "HTTP/2.0"
		if x.IsGRPC() != want {
			t.Error(ct)
		}
	}
}

func TestSleepAndAwaitEndWithTheExchange(t *testing.T) {
	x := &Exchange{}
	if err := x.Sleep(time.Microsecond); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	x.Begin(ctx)
	if err := x.Sleep(time.Hour); err != gone {
		t.Fatal(err)
	}
	used := false
	x.Waiter = func(c context.Context, wait func(context.Context) error) error {
		used = c == x.Context()
		return wait(c)
	}
	if err := x.Await(func(context.Context) error { return gone }); err != gone || !used {
		t.Fatal(err, used)
	}
}

func TestFaultSaysCodeDetailAndCause(t *testing.T) {
	cause := errors.New("why")
	f := &Fault{Code: "c", Detail: "d", Err: cause}
	if f.Error() != "c: d: why" || !errors.Is(f, cause) || (&Fault{Code: "c"}).Error() != "c" {
		t.Error(f)
	}
}
