package txntoken

import (
	"errors"
	"time"
)

// The headers the internal tokens travel in. Both are reserved: a copy that a
// client sends is removed at the edge, and neither is ever sent back.
const (
	HeaderTxn = "Txn-Token"
	HeaderHop = "Hop-Token"
)

// Names within claim tctx that Lintel fills itself. A caller's tctx must not
// carry them, so that nothing a user can influence becomes a role.
const (
	ContextRoles  = "roles"   // the user's roles, a list of strings
	ContextIssuer = "sub_iss" // who vouched for the user at the edge
)

// The bounds of what is accepted.
const (
	MaxTxnBytes    = 16 << 10        // a longer Txn-Token is refused, and never minted
	WarnTxnBytes   = 4 << 10         // a longer Txn-Token is reported when minted
	MaxTxnLifetime = 5 * time.Minute // exp - iat
	MaxHopBytes    = 8 << 10         // a longer hop token is refused, and never signed
	MaxHopLifetime = time.Minute     // exp - iat
	MaxChain       = 16              // default bound of a verified chain, the peer included

	maxX5C     = 5  // certificates in x5c
	maxDepth   = 16 // nesting of the claims
	maxID      = 128
	maxSubject = 1024

	typTxn = "txntoken+jwt"
)

// Errors are wrapped in these, so that a caller can tell what happened without
// reading the text.
var (
	ErrInvalid   = errors.New("token invalid")                // malformed, altered, or not meant for here
	ErrExpired   = errors.New("token expired")                // also: not valid yet
	ErrForbidden = errors.New("not allowed to say so")        // the signature holds, the signer may not
	ErrChain     = errors.New("too many hops")                // the chain is longer than is allowed
	ErrIdentity  = errors.New("identity source not in order") // own SVID, bundle or connection unusable
)
