// Package listen opens listening sockets and keeps the certificates they show:
// several by SNI, reloaded live.
package listen
