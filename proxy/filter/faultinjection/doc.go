// Package faultinjection delays and aborts requests on purpose, for tests of
// how callers bear it.
package faultinjection
