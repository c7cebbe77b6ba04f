// Package pipe is the straight line an exchange takes: match, filters, forward,
// filters back, observers. It is the only place where a Fault becomes a
// response.
package pipe
