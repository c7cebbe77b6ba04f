package loop

// Close closes all connections and ends the loops once their tasks have ended;
// what those still do with connections fails. Functions handed to Await are
// waited for. It must not be called on a loop. Handlers are told nothing.
func (g *Group) Close() {
	g.once.Do(func() {
		for _, l := range g.loops {
			l.Post(l.close)
		}
	})
	for _, l := range g.loops {
		<-l.done
	}
}

// close runs on the loop.
func (l *Loop) close() {
	l.closing = true
	l.giveUp = l.ns + int64(closeGrace)
	for _, s := range l.slots {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
}

// wound reports whether a loop that is being closed has come to its end.
func (l *Loop) wound() bool {
	if l.tasks > 0 && l.ns >= l.giveUp {
		l.unwind()
	}
	if l.tasks > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = len(l.posts) == 0
	return l.ended
}

// unwind ends tasks that wait for others which no longer come: their deferred
// functions run.
func (l *Loop) unwind() {
	for i := len(l.inUse) - 1; i >= 0; i-- {
		if i >= len(l.inUse) {
			continue
		}
		co := l.inUse[i]
		t := co.task
		if t == nil || !t.waiting || t.ended {
			continue
		}
		t.waiting = false
		l.running = t
		co.stop()
		co.exit = true
		l.settle()
	}
}
