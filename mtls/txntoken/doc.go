// Package txntoken signs and verifies the two internal tokens: the Txn-Token,
// which says for whom a transaction runs, and the hop token, which says who
// vouches for one hop of it; and it remembers the transactions in flight.
//
// A Txn-Token (draft-ietf-oauth-transaction-tokens) is signed once with the
// minter's X.509-SVID key, carries the certificate chain in x5c and travels
// unmodified. Any sidecar verifies it against the SPIFFE bundle it already has,
// and against the lists of those who may mint.
//
// A hop token is made anew for every attempt, signed with a key that only the
// two ends of one mTLS connection can derive (RFC 5705, RFC 8446 section 7.5).
// It is worthless on another connection, for another destination or next to
// another Txn-Token. The receiver appends its verified TLS peer to the chain
// the token carries; earlier entries are believed because the peer is.
package txntoken
