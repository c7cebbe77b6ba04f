// Package extauthz is the ext_authz filter: it asks an authorizer over HTTP, as
// Traefik's ForwardAuth and nginx's auth_request do, whether a request may pass
// and who is making it.
package extauthz
