// Package headers adds, sets, renames and removes header fields of requests and
// answers.
package headers
