package jwt

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
)

// confirmation reads claim cnf (RFC 7800): the hash of the certificate whose
// key the sender must prove to have (RFC 8705 section 3.1). A token that is
// bound in a way that cannot be checked here is refused: whoever stole it could
// not have used it where it was meant for, and must not be able to here.
func confirmation(claims map[string]any, required bool) (*[32]byte, *refusal) {
	v, has := claims["cnf"]
	if !has {
		if required {
			return nil, unproven("the token is not bound to a client certificate")
		}
		return nil, nil
	}
	cnf, ok := v.(map[string]any)
	if !ok {
		return nil, badToken("claim cnf is not an object", nil)
	}
	text, ok := cnf["x5t#S256"].(string)
	if !ok || len(cnf) != 1 {
		return nil, unproven("the token is bound in a way that cannot be checked here")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != sha256.Size {
		return nil, badToken("claim cnf holds no SHA-256", err)
	}
	return (*[32]byte)(b), nil
}

// proven checks on every request, also for a token that was verified before,
// that it comes on a connection of the client it was issued to.
func proven(x *exchange.Exchange, bound *[32]byte) *refusal {
	if x.Client.TLS == nil || len(x.Client.TLS.PeerCertificates) == 0 {
		return unproven("the token is bound to a client certificate, and the connection has none")
	}
	sum := sha256.Sum256(x.Client.TLS.PeerCertificates[0].Raw)
	if subtle.ConstantTimeCompare(sum[:], bound[:]) != 1 {
		return unproven("the token is bound to another client certificate")
	}
	return nil
}

func unproven(text string) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "token-not-proven", oauth: "invalid_token", text: text}
}
