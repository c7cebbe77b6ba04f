// Package exchange is the one value that travels: a request, its answer, and
// what the rooms learn about both on the way.
//
// Engines fill an [Exchange]; filters and clusters read and change it; the
// engine writes what it finds in Response. Exchange and [Fields] are concrete
// structs on purpose: no engine implements them, so no room ever asks which
// engine runs.
package exchange
