// Command scale runs a real ingress, and a real sidecar, against a synthetic
// Consul with thousands of services, and reports what they need: memory,
// goroutines, connections, CPU at rest and while endpoints change, and how long
// a change takes to have effect.
//
//	go run ./test/scale                                  # 2,000 services × 50 endpoints
//	go run ./test/scale -services 500 -endpoints 20
package main
