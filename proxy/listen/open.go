package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Clients that vanished without closing are found after keepAliveIdle and
// keepAliveCount unanswered probes.
const (
	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
	keepAliveCount = 6
)

// Config is how listening sockets are made.
func Config() *net.ListenConfig {
	return &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveCount}}
}

// Opener listens on a TCP address in a way of its own: on a socket that a process
// before this one handed over, say. Nil makes a new one.
type Opener func(network, address string) (net.Listener, error)

// Plain is the opener as others may want it; nil for nil.
func (o Opener) Plain() func(context.Context, string) (net.Listener, error) {
	if o == nil {
		return nil
	}
	return func(_ context.Context, address string) (net.Listener, error) { return o("tcp", address) }
}

// Open listens on a TCP address, "host:port" or ":port"; port 0 takes a free
// one. The error says what to do about it.
func Open(address string) (net.Listener, error) { return Opener(nil).Open(address) }

// Open is Open by this opener.
func (o Opener) Open(address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("listen: expected host:port or :port, found %q: %w", address, err)
	}
	if o == nil {
		o = func(network, address string) (net.Listener, error) {
			return Config().Listen(context.Background(), network, address)
		}
	}
	l, err := o("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen: %s is in use: stop what listens there (ss -ltnp shows it) or choose another address: %w", address, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen: not allowed to use %s: ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher port: %w", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen: this machine does not have the address of %s: use one it has, or \":port\" for all: %w", address, err)
	}
	return nil, fmt.Errorf("listen: %w", err)
}
