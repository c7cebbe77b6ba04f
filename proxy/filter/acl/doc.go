// Package acl lets only some of those through whom an authentication filter
// before it has found out: consumers, groups, roles, scopes.
package acl
