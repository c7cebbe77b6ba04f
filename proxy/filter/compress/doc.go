// Package compress sends answers in a content coding that the client takes: zstd,
// br or gzip.
package compress
