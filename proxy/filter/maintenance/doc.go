// Package maintenance closes a route for a while, but for some callers.
package maintenance
