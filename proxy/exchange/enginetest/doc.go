// Package enginetest is the conformance kit of engines: it puts a server
// engine and a transport engine between real clients and a real net/http
// application, and checks what reaches each side.
package enginetest
