// Package errorpages shows people an error as a page and programs as problem
// details.
package errorpages
