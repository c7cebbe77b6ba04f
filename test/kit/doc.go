// Package kit starts the real programs that tests lean on, on loopback and on
// free ports, and ends them with the test.
package kit
