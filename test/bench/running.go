package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// Running is a contender that answers.
type Running struct {
	Contender Contender
	Addr      string // of the first hop
	URL       string
	Header    http.Header
	Procs     []*Process
}

// start starts a contender's hops, the one next to the backend first, and
// waits until the whole answers.
func (b *Bench) start(s *Scenario, c Contender, round int) (*Running, error) {
	r := &Running{Contender: c, Addr: b.Backend.Addr, Header: http.Header{}}
	if err := b.startHops(s, r, round); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (b *Bench) startHops(s *Scenario, r *Running, round int) error {
	c := r.Contender
	tls := false
	if s.Next != nil {
		r.Addr = s.Next(b)
	}
	for i := len(c.Hops) - 1; i >= 0; i-- {
		h := c.Hops[i]
		place, err := b.newPlace(filepath.Join(b.dir, fmt.Sprintf("%s-%s-%d-%d", s.Name, c.Name, i, round)), r.Addr)
		if err != nil {
			return err
		}
		p, err := b.launch(h.Program, h.Config(b, place), place, b.cpus.proxy)
		if err != nil {
			return err
		}
		r.Procs = append(r.Procs, p)
		r.Addr, tls = place.Listen, h.TLS
	}
	scheme := "http"
	if tls {
		scheme = "https"
	}
	r.URL = scheme + "://" + r.Addr + "/" + s.Path
	if s.Header != nil {
		r.Header = s.Header(b)
	}
	var dead <-chan struct{}
	if len(r.Procs) > 0 {
		dead = r.Procs[len(r.Procs)-1].ended
	}
	got, err := probe(b.ctx, r.URL, r.Header, 30*time.Second, dead)
	if err != nil {
		return fmt.Errorf("%w%s", err, r.complaints())
	}
	if s.Answer > 0 && got != s.Answer {
		return fmt.Errorf("GET %s: expected %d bytes, found %d", r.URL, s.Answer, got)
	}
	return nil
}

func (r *Running) complaints() string {
	var all string
	for _, p := range r.Procs {
		if t := p.tail(); t != "" {
			all += "\n" + p.Name + " says: " + t
		}
	}
	return all
}

func (r *Running) end() {
	for _, p := range r.Procs {
		p.end()
	}
}

func (r *Running) cpu() (sum time.Duration, err error) {
	for _, p := range r.Procs {
		t, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func (r *Running) rss() (sum int64, err error) {
	for _, p := range r.Procs {
		n, err := p.rss()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (r *Running) forget() {
	for _, p := range r.Procs {
		p.forget()
	}
}
