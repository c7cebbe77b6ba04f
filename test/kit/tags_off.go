//go:build !poison

package kit

// buildTags are what the tests were built with and Binary is, too.
const buildTags = ""
