package nethttp

import (
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.Engine{NewServer: NewServer, NewTransport: NewTransport, HTTP2: true})
}
