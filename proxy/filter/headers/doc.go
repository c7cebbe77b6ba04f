// Package headers adds, sets and removes header fields of requests and answers.
package headers
