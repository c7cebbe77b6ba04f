// Package filter is the contract every filter keeps and the explicit Registry
// they are built from. Each filter lives in proxy/filter/<name> and works on
// every engine and in both modes.
package filter
