// Package authorize is the authorize filter: expressions in CEL, the Common
// Expression Language, over a request and who makes it decide whether it may
// pass.
package authorize
