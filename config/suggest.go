package config

import "strings"

// nearest returns the allowed word closest to what was written, or "" when
// none is close enough to be what was meant.
func nearest(word string, allowed []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", len(word)/3+1
	for _, a := range allowed {
		if d := distance(normal(word), normal(a)); d < least {
			best, least = a, d
		}
	}
	return best
}

// normal makes maxRetries, max-retries and max_retries alike.
func normal(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b.
func distance(a, b string) int {
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(b)]
}

// didYouMean is the end of a message about an unknown word.
func didYouMean(word string, allowed []string) string {
	list := strings.Join(allowed, ", ")
	if len(allowed) == 0 {
		return "none is allowed here"
	}
	if n := nearest(word, allowed); n != "" {
		return "did you mean " + n + "? Allowed: " + list
	}
	return "allowed: " + list
}
