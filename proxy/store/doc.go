// Package store keeps what outlives a table: limits, caches, key sets, breakers
// and pools, by name and fingerprint. It is the only door to Redis.
package store
