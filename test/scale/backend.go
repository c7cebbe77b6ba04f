package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// startBackend answers at every address of this machine with the address it was
// asked at, so that a client can tell which endpoint was chosen.
func startBackend() (port string, end func(), err error) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		host, _, _ := net.SplitHostPort(at.String())
		_, _ = fmt.Fprint(w, host)
	})}
	go func() { _ = s.Serve(l) }()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, func() { _ = s.Close() }, err
}
