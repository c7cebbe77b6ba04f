// Package admin is the loopback API of a running Lintel: its health, metrics,
// configuration, routes, services and connections, explain, drain and reload.
//
// It asks the other rooms through the functions in [Sources] and imports none
// of them. A second address may serve the probes alone (livez, readyz,
// metrics), so that a scheduler and Prometheus need no way to the rest.
package admin
