//go:build !linux

package http1

import "net"

func (s *server) serveLoops(net.Listener) (error, bool) { return nil, false }

func (s *server) stopLoops() {}

func hung(net.Conn) bool { return false }

func (c *conn) leaving() {}

func own(net.Conn, *link) {}

func detach(net.Conn) error { return nil }
