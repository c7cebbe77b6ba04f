//go:build race

package txntoken

const raceEnabled = true
