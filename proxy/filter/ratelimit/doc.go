// Package ratelimit is the rate_limit filter: how many requests a client may
// make in a stretch of time, counted exactly and in memory.
package ratelimit
