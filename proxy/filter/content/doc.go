// Package content is what filters know of a message's content: media types,
// codings, what a client accepts of them, and which fields stop being true once
// the content is changed.
package content
