// Package manifests holds the offline check of deploy/kubernetes and deploy/nomad
// against the types of their APIs: a module of its own, so that nobody else needs
// those.
package manifests
