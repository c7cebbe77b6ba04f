//go:build poison

package kit

// buildTags: released read buffers are overwritten, so that whoever kept a
// string of one shows garbage, and event loops report who holds them up.
const buildTags = "poison,watchdog"
