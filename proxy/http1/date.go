package http1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// dateCache renders the Date field once a second (RFC 9110 section 6.6.1).
type dateCache struct{ p atomic.Pointer[dateText] }

type dateText struct {
	second int64
	text   []byte
}

func (d *dateCache) at(now time.Time) []byte {
	second := now.Unix()
	if t := d.p.Load(); t != nil && t.second == second {
		return t.text
	}
	t := &dateText{second, now.UTC().AppendFormat(nil, http.TimeFormat)}
	d.p.Store(t)
	return t.text
}
