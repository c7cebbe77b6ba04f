// Package clientcert finds out which consumer calls by the client certificate
// of a TLS listener. The listener has verified it against client_ca; who it
// belongs to is decided here.
package clientcert
