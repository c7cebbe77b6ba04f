package store

func (s *responseShard[V]) variants(uri, user []byte) []*Held[V] {
	g := s.uris[string(uri)]
	switch {
	case g == nil:
		return nil
	case len(user) == 0:
		return g.shared
	}
	return g.users[string(user)]
}

// add puts h first among its variants and newest in the queue.
func (s *responseShard[V]) add(h *Held[V]) {
	g := s.uris[h.uri]
	if g == nil {
		g = &group[V]{}
		s.uris[h.uri] = g
	}
	if h.user == "" {
		g.shared = prepend(h, g.shared)
	} else {
		if g.users == nil {
			g.users = map[string][]*Held[V]{}
		}
		g.users[h.user] = prepend(h, g.users[h.user])
	}
	h.older = s.newest
	if s.newest != nil {
		s.newest.newer = h
	} else {
		s.oldest = h
	}
	s.newest = h
	for _, t := range h.tags {
		if s.tags[t] == nil {
			s.tags[t] = map[*Held[V]]struct{}{}
		}
		s.tags[t][h] = struct{}{}
	}
	s.bytes += h.size
	s.count++
}

// forget drops all of a group and reports how many that were.
func (s *responseShard[V]) forget(g *group[V]) int {
	if g == nil {
		return 0
	}
	n := 0
	for _, h := range g.shared {
		s.drop(h)
		n++
	}
	for _, list := range g.users {
		for _, h := range list {
			s.drop(h)
			n++
		}
	}
	return n
}

// drop takes h out of everything. Dropping twice is harmless.
func (s *responseShard[V]) drop(h *Held[V]) {
	if !h.kept {
		return
	}
	h.kept = false
	g := s.uris[h.uri]
	if h.user == "" {
		g.shared = without(h, g.shared)
	} else if rest := without(h, g.users[h.user]); len(rest) > 0 {
		g.users[h.user] = rest
	} else {
		delete(g.users, h.user)
	}
	if len(g.shared) == 0 && len(g.users) == 0 {
		delete(s.uris, h.uri)
	}
	if s.hand == h {
		s.hand = h.newer
	}
	if h.newer != nil {
		h.newer.older = h.older
	} else {
		s.newest = h.older
	}
	if h.older != nil {
		h.older.newer = h.newer
	} else {
		s.oldest = h.newer
	}
	h.newer, h.older = nil, nil
	for _, t := range h.tags {
		if delete(s.tags[t], h); len(s.tags[t]) == 0 {
			delete(s.tags, t)
		}
	}
	s.bytes -= h.size
	s.count--
}

// evict moves the hand from old to new, past those that were of use, to the
// first that was not.
func (s *responseShard[V]) evict() {
	h := s.hand
	for {
		if h == nil {
			h = s.oldest
		}
		if !h.used.Swap(false) {
			break
		}
		h = h.newer
	}
	s.hand = h.newer
	s.drop(h)
}

func prepend[V any](h *Held[V], list []*Held[V]) []*Held[V] {
	out := make([]*Held[V], 0, len(list)+1)
	return append(append(out, h), list...)
}

func without[V any](h *Held[V], list []*Held[V]) []*Held[V] {
	var out []*Held[V]
	for _, o := range list {
		if o != h {
			out = append(out, o)
		}
	}
	return out
}
