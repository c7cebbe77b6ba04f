//go:build !unix

package http1

import "net"

// Where the kernel cannot be asked without reading: a read waits by itself, a
// client that has left is found out by writing to it, and so is a stale
// connection.

func readable(net.Conn) bool { return true }

func hungUp(net.Conn) bool { return false }

func quiet(net.Conn) bool { return true }

func exhausted(error) bool { return false }
