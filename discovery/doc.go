// Package discovery finds the live endpoints of services (in Consul, DNS, a
// static list or an embedded catalog), keeps the last known ones when the
// source is gone, and registers this process in turn.
package discovery
