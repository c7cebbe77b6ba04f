// Package ratelimit is the rate_limit and the concurrency filter: how many
// requests a client may make in a stretch of time, counted in memory or for
// several processes together in Redis, and how many it may have in progress.
package ratelimit
