// Package mirror sends copies of requests to another service, whose answers
// nobody gets. A copy has a life of its own: it delays nothing and fails nothing.
package mirror
