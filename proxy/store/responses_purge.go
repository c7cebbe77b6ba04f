package store

// PurgeTag forgets every answer that carries tag, and reports how many there
// were. What is on its way is not kept either: its tags are not known yet.
func (r *Responses[V]) PurgeTag(tag string) int {
	r.purges.Add(1)
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for h := range s.tags[tag] {
			s.drop(h)
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// Purge forgets every answer whose URI matches, also those on their way, and
// reports how many were kept. It looks at every URI there is, a part of the
// store at a time.
func (r *Responses[V]) Purge(match func(uri string) bool) int {
	r.purges.Add(1)
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for uri, g := range s.uris {
			if match(uri) {
				n += s.forget(g)
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Bytes is what is kept and collected now, overhead included.
func (r *Responses[V]) Bytes() int64 {
	n := r.filling.Load()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += s.bytes
		s.mu.RUnlock()
	}
	return n
}

// Len is how many answers are kept.
func (r *Responses[V]) Len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += s.count
		s.mu.RUnlock()
	}
	return n
}

// Hits is how often a kept answer was of use.
func (r *Responses[V]) Hits() int64 {
	n := int64(0)
	for i := range r.shards {
		n += r.shards[i].hits.Load()
	}
	return n
}
