//go:build !linux

package loop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Where there are no event loops New fails, so none of what follows is ever
// called; it lets callers compile unchanged.

type (
	// Group is the event loops of a process.
	Group struct{}
	// Loop runs connections, tasks and timers on one goroutine.
	Loop struct{}
	// Task is straight-line code that runs on a loop.
	Task struct{}
	// Timer calls a function on the loop once its time has come.
	Timer struct{}
	// Conn is a TCP connection on a loop.
	Conn struct{ net.Conn }
)

// New returns ErrUnsupported.
func New(Config) (*Group, error) { return nil, ErrUnsupported }

func (*Group) Loops() []*Loop                                     { return nil }
func (*Group) Close()                                             {}
func (*Group) Serve(*net.TCPListener, func(*Conn) Handler) error  { return ErrUnsupported }
func (*Loop) Now() time.Time                                      { return time.Now() }
func (*Loop) Go(func()) *Task                                     { return nil }
func (*Loop) Start(Runner)                                        {}
func (*Loop) AtTurnEnd(func())                                    {}
func (*Loop) Running() *Task                                      { return nil }
func (*Loop) Await(func())                                        {}
func (*Loop) Post(func()) bool                                    { return false }
func (*Loop) After(time.Duration, func()) *Timer                  { return nil }
func (*Loop) NewTimer(func()) *Timer                              { return nil }
func (*Loop) Dial(context.Context, string, string) (*Conn, error) { return nil, ErrUnsupported }
func (*Timer) Reset(time.Duration)                                {}
func (*Timer) Drop()                                              {}
func (*Timer) Stop() bool                                         { return false }
func (*Task) Loop() *Loop                                         { return nil }
func (*Task) Park()                                               {}
func (*Task) Unpark()                                             {}
func (*Task) Wake()                                               {}
func (*Task) Join()                                               {}
func (*Task) Yield()                                              {}
func (*Conn) Loop() *Loop                                         { return nil }
func (*Conn) SetHandler(Handler)                                  {}
func (*Conn) Hung() (half, dead bool)                             { return false, false }
func (*Conn) IdleUntil(time.Time)                                 {}
func (*Conn) Idle(time.Time)                                      {}
func (*Conn) Busy() bool                                          { return false }
func (*Conn) Quiet() bool                                         { return false }
func (*Conn) LoseAfter(time.Duration)                             {}
func (*Conn) Unheard() bool                                       { return false }
func (*Conn) Detach() (net.Conn, error)                           { return nil, ErrUnsupported }
func (*Conn) CloseWrite() error                                   { return ErrUnsupported }
func (*Conn) WriteNow([]byte) (int, error)                        { return 0, ErrUnsupported }
func (*Conn) LocalAddrPort() netip.AddrPort                       { return netip.AddrPort{} }
func (*Conn) RemoteAddrPort() netip.AddrPort                      { return netip.AddrPort{} }

// Splice returns ErrUnsupported.
func Splice(dst, src *Conn, most int64, writing func()) (int, error) { return 0, errors.ErrUnsupported }
