// Package combine makes one authentication filter of several: any_of asks for
// one of them, all_of for all, and anonymous says what becomes of who shows
// nothing.
package combine
