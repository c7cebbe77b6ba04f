package listen

import (
	"crypto/tls"
	"fmt"
)

// challengeProtocol is offered, alone, by whoever validates a TLS-ALPN-01
// challenge (RFC 8737 section 3).
const challengeProtocol = "acme-tls/1"

// answerChallenges makes c show such a client, who has no certificate of its
// own, nothing but what it came for. The connection is of no other use: no
// engine speaks its protocol.
func answerChallenges(c *tls.Config, find func(serverName string) *tls.Certificate) {
	others := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
			cert := find(hello.ServerName)
			if cert == nil {
				return nil, fmt.Errorf("listen: no ACME challenge is pending for server name %q", hello.ServerName)
			}
			return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert},
				NextProtos: []string{challengeProtocol}, SessionTicketsDisabled: true}, nil
		}
		if others != nil {
			return others(hello)
		}
		return nil, nil
	}
}
