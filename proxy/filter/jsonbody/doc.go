// Package jsonbody edits JSON bodies of requests and answers, up to a declared
// size; what it does not touch keeps its bytes.
package jsonbody
