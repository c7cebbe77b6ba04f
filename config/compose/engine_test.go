package compose

import (
	"testing"

	"lintel.dev/lintel/proxy/exchange/enginetest"
)

// Both engines as the modes use them, over HTTP/1.1 and HTTP/2 on either side.
func TestEnginesTogether(t *testing.T) {
	enginetest.Run(t, enginetest.Engine{NewServer: NewServer, NewTransport: NewTransport, HTTP2: true, Strict: true})
}
