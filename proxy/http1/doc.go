// Package http1 is our HTTP/1.1 engine: a server and a transport with one
// strict codec (RFC 9110, RFC 9112) that allocates next to nothing and lets
// header fields be views into the read buffer.
//
// Everything here is straight-line code over a net.Conn. It runs in two ways:
// a goroutine per connection, anywhere; and on Linux on event loops (package
// loop), where each active connection is a coroutine and an idle one is only a
// descriptor. What differs is behind host.
//
// Between two Lintels of a mesh, both on event loops, connections are streams of
// one that they share (package mux): a conn or link cannot tell. Who accepts is
// in carried.go, who dials in sharing.go.
package http1
