// Package ops holds whole-system tests of what operators live through:
// reloads, drains, outages, rotations and wrong files, each named by what it
// proves. They run the real binary as separate processes against a real Consul.
package ops
