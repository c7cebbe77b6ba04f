// Package jwt verifies bearer JSON Web Tokens (RFC 7519, RFC 6750, RFC 8725) at
// the edge and says who the user is.
//
// Keys come from configuration alone: a token's header may choose among them by
// kid, and nothing else in it (jku, x5u, x5c, jwk) is looked at. Tokens that
// were verified once are remembered by their exact bytes until they expire or
// the keys they were verified with change.
package jwt
