package config

import (
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the units a size may have: decimal ones by 1000, binary ones
// by 1024.
func sizeUnits() []struct {
	name string
	size int64
} {
	return []struct {
		name string
		size int64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
	}
}

// sizePattern is what parseSize accepts, for the schema.
const sizePattern = `^[0-9]+ ?(B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)?$`

// parseSize reads a number of bytes.
func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// formatSize writes a number of bytes in the largest binary unit that is exact.
func formatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range sizeUnits()[:4] {
		if n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
