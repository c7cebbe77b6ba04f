// Package openapi lets requests pass that an OpenAPI document describes, and says
// of others what is wrong with them.
package openapi
