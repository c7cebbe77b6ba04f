// Package cache is the cache filter: answers of a service kept in memory and
// given again as RFC 9111 allows a shared cache, never one user's to another.
package cache
