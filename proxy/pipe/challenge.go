package pipe

import (
	"context"
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

// ChallengePath is where an ACME server asks for the answer to an HTTP-01
// challenge (RFC 8555 section 8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// challenge answers such a question if it is about a challenge of ours. All
// others go the way of every request.
func (p *Pipe) challenge(x *exchange.Exchange) bool {
	if x.Request.Method != http.MethodGet || !strings.HasPrefix(x.Request.Path, ChallengePath) {
		return false
	}
	host, ok := route.Host(x.Request.Authority)
	if !ok {
		return false
	}
	host, path := strings.Clone(host), strings.Clone(x.Request.Path)
	var body string
	err := x.Await(func(context.Context) error {
		body, ok = p.cfg.Challenge(host, path)
		return nil
	})
	if err != nil || !ok {
		return false
	}
	x.Answer(http.StatusOK, "application/octet-stream", []byte(body))
	x.Response.Header.Set("Cache-Control", "no-store")
	return true
}
