// Package cors lets pages of other origins call a route, by the CORS protocol of
// the Fetch standard, and answers their preflights.
package cors
