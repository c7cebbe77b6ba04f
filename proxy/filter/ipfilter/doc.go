// Package ipfilter lets a route be called from some addresses only.
package ipfilter
