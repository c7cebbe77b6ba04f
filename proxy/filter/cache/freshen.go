package cache

import (
	"net/http"
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// validated keeps and gives what the service just confirmed (RFC 9111 sections
// 4.3.3 and 4.3.4).
func (f *cache) validated(x *exchange.Exchange, v *visit, now time.Time) {
	fwd := v.fwd + "; fwd-status=" + strconv.Itoa(x.Response.Status)
	a, kept := f.freshened(x, v, now)
	if kept {
		fwd += "; stored"
	}
	v.served = true
	f.serve(x, &held{Value: a}, &v.request, v.saw, now, fwd, "")
}

// freshened is what is held with the fields of a 304, or of an answer to HEAD, in
// place of its own (RFC 9111 section 3.2), and kept if it may be.
func (f *cache) freshened(x *exchange.Exchange, v *visit, now time.Time) (a *answer, kept bool) {
	old, said := v.held.Value, &x.Response.Header
	tag := said.Get("ETag")
	header := old.header.Clone()
	heard, _ := answerControl(said, f.Targets)
	update := f.keepable(said, &heard)
	for name := range update.All() {
		if !content(name) {
			header.Del(name)
		}
	}
	for name, value := range update.All() {
		if !content(name) {
			header.Add(name, value)
		}
	}
	if !said.Has("Date") {
		header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	fr, why := f.judge(&header, said.Get("Age"), old.status, v.asked, now)
	keep := why == ""
	fr.open = fr.open && knowable(old.vary, &v.request)
	if tag != "" && old.etag != "" && !tagListed(tag, old.etag) {
		keep = false // it confirmed something else than we asked about
	}
	if v.held.User() == "" && v.creds && !fr.open {
		keep = false // it is not for everybody any more
	}
	a = newAnswer(old.status, header, fr)
	a.body, a.vary, a.claims, a.tags = old.body, old.vary, old.claims, old.tags
	if tags, ok := f.tagsOf(said); !ok {
		keep = false
	} else if len(tags) > 0 {
		a.tags = tags
	}
	if !keep {
		f.drop(v)
		return a, false
	}
	return a, f.put(v, []byte(v.held.User()), a)
}

func (f *cache) put(v *visit, user []byte, a *answer) bool {
	ok := f.responses.Put(store.Entry[*answer]{URI: v.uri, User: user, Value: a, Size: a.size(), Tags: a.tags,
		Epoch: v.epoch, Supersedes: a.sameVariant})
	if ok {
		f.stored.Add(1)
		if f.tier != nil {
			f.tier.shareOut(f, v, user, a)
		}
		if v.flightKey != nil {
			f.flights.Unite(v.flightKey)
		}
	}
	return ok
}

// compared looks at what an answer to HEAD says of the stored one: it is
// freshened if that still is the same, else forgotten (RFC 9111 section 4.3.5).
func (f *cache) compared(x *exchange.Exchange, v *visit, now time.Time) {
	old, said := v.held.Value, &x.Response.Header
	differs := func(name, ours string) bool { return said.Has(name) && said.Get(name) != ours }
	if old.status != http.StatusOK || differs("ETag", old.header.Get("ETag")) || differs("Last-Modified", old.header.Get("Last-Modified")) ||
		x.Response.Length > 0 && x.Response.Length != int64(len(old.body)) {
		f.drop(v)
		return
	}
	if said.Has("ETag") && old.etag != "" || said.Has("Last-Modified") && old.lastMod != "" {
		f.freshened(x, v, now)
	}
}
