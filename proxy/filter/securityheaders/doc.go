// Package securityheaders tells browsers how carefully to treat the answers of a
// route.
package securityheaders
