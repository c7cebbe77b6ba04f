// Package cluster chooses an endpoint of a service and forwards to it: picker,
// breaker, retries and connection pools.
package cluster
