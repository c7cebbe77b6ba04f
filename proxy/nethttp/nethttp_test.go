package nethttp

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/exchange/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.Engine{NewServer: newServer, NewTransport: NewTransport, HTTP2: true})
}

func newServer(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (exchange.Server, error) {
	return NewServer(cfg, h, log)
}
