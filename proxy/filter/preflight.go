package filter

import (
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
)

// Preflight reports whether x is a CORS preflight (Fetch standard, section
// CORS-preflight request): a browser's question whether a page of another
// origin may send what it is about to.
func Preflight(x *exchange.Exchange) bool {
	return x.Request.Method == http.MethodOptions && AskedMethod(x) != ""
}

// AskedMethod is the method a preflight asks about, "" when that is no method.
func AskedMethod(x *exchange.Exchange) string {
	h := &x.Request.Header
	asked := h.Get("Access-Control-Request-Method")
	if asked == "" || len(asked) > 64 || !h.Has("Origin") {
		return ""
	}
	for i := 0; i < len(asked); i++ {
		c := asked[i]
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && c != '-' && c != '_' && (c < '0' || c > '9') {
			return ""
		}
	}
	return asked
}
