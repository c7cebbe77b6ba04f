// Package ask asks another service a question on behalf of a filter: over HTTP,
// within a time, and for an answer of bounded size. It is the one place where
// filters that consult somebody else, authorizers say, send HTTP; what is
// proxied goes through the engines.
package ask
