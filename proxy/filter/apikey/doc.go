// Package apikey finds out which consumer calls by an API key, of which only a
// hash is kept: whoever reads the configuration cannot call with it.
package apikey
