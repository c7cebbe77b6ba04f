// Package credential finds a credential in a request's header, cookie or query,
// and takes it off from exactly there.
package credential
