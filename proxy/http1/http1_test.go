package http1

import (
	"log/slog"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/exchange/enginetest"
)

// The conformance kit runs against every driver alike.
func TestEngine(t *testing.T) {
	for name, opt := range drivers() {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, enginetest.Engine{
				NewServer: func(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (exchange.Server, error) {
					return NewServer(cfg, h, log, opt)
				},
				NewTransport: NewTransport,
				Strict:       true,
			})
		})
	}
}
