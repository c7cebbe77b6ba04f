// Package tcp carries opaque streams: it accepts or dials them, with mutual TLS
// where the mesh is, and splices the two sides, half-close honoured.
package tcp
