// Package nethttp is net/http, with its HTTP/2, as server and transport engine
// behind the one Exchange.
//
// No other package learns that net/http types travel here. The server is
// lenient where net/http is: what it repairs (CL with TE, obs-fold, bare LF)
// reaches a service as exactly one request framed anew. Heads that net/http
// refuses by itself (400 for a missing or repeated Host, 431 for too many
// bytes) never become an exchange; seeing those is the http1 engine's job.
package nethttp
