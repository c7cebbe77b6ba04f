package main

import (
	"log/slog"
	"os"

	"lintel.dev/lintel/proxy/listen"
)

// forApp are the signals an app gets from its sidecar.
var forApp = []os.Signal{os.Interrupt}

// handover is not to be had here: sockets cannot be handed to a new process.
type handover struct{}

func newHandover(string, *slog.Logger) (*handover, error) { return nil, nil }

func (*handover) opener() listen.Opener { return nil }

func (*handover) done() <-chan struct{} { return nil }

func (*handover) ready() error { return nil }

func (*handover) stop() {}
