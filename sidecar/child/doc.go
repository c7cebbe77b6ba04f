// Package child runs the app that a sidecar was started for as the sidecar's
// child: it passes signals on, ends it in order, and keeps its exit code.
package child
