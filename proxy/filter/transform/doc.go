// Package transform changes what passes a route: path, query parameters and
// header fields of the request, header fields of the answer.
package transform
