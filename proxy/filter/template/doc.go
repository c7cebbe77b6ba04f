// Package template is configured text with placeholders that each exchange
// fills, so that no value can break out of the place it is put in.
package template
