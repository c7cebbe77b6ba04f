package cache

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/store"
)

// News are what instances that share a cache tell each other to forget, each one
// note of a ledger: 'u' and a URI, 't' and a tag, 'n' or 'p' and what a purge by
// URL on any host or by prefix looks for, 'a' for everything.
const newsAll = "a"

func newsURI(uri []byte) string { return "u" + string(uri) }
func newsTag(tag string) string { return "t" + tag }

func newsTarget(kind byte, t target) string {
	open := byte('0')
	if t.open {
		open = '1'
	}
	return string(appendPart(appendPart(appendPart([]byte{kind, open}, t.authority), t.path), t.query))
}

// readTarget is newsTarget's reverse.
func readTarget(note string) (match func(uri string) bool, ok bool) {
	if len(note) < 2 {
		return nil, false
	}
	t, rest := target{open: note[1] == '1'}, []byte(note[2:])
	for _, part := range []*string{&t.authority, &t.path, &t.query} {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return nil, false
		}
		*part, rest = string(rest[used:used+int(n)]), rest[used+int(n):]
	}
	if note[0] == 'n' {
		return t.is, len(rest) == 0
	}
	return t.begins, len(rest) == 0
}

const (
	maxPending = 4096 // then everything is forgotten instead
	maxWide    = 256
	maxRecent  = 1024
	sentAtOnce = 256

	// tellAgain is how long news are told again to a Redis that lost them.
	tellAgain = time.Minute
	// deaf is how long the ledger may be unheard before Redis is not asked.
	deaf = time.Second
)

// news is what an instance knows of the ledger. An answer in Redis that was asked
// for before something was forgotten is not to be used after: so an answer bears
// how far its instance had read, and is held against everything later. What the
// ledger does not hold any more counts against all answers that are older.
type news struct {
	mu      sync.RWMutex
	begun   int64
	read    int64
	floor   int64
	all     int64            // when all was forgotten last
	last    map[string]int64 // URIs and tags
	wide    []wideNews
	heard   time.Time // when the ledger was read to its end
	pending []string  // own, not in the ledger yet
	recent  []ownNews
	posted  int64
	told    int64         // of the posted
	telling chan struct{} // closed when told grows
}

// page is how far a ledger was read.
type page struct{ begun, seq int64 }

type wideNews struct {
	match func(string) bool
	seq   int64
}

type ownNews struct {
	note string
	at   time.Time
}

// current reports whether the ledger was read to its end a moment ago.
func (n *news) current(now time.Time) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return now.Sub(n.heard) < deaf
}

// page is what an answer bears that is asked for now.
func (n *news) page() page {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return page{n.begun, n.read}
}

// forgotten reports whether an answer of a URI, which bears p, is to be used no
// more.
func (n *news) forgotten(p page, uri string, tags []string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	seq := p.seq
	if p.begun != n.begun || seq < n.floor || seq < n.all || seq < n.last[newsURI([]byte(uri))] {
		return true
	}
	for _, t := range tags {
		if seq < n.last[newsTag(t)] {
			return true
		}
	}
	for _, w := range n.wide {
		if seq < w.seq && w.match(uri) {
			return true
		}
	}
	for _, note := range n.pending {
		switch note[0] {
		case 'u':
			if note[1:] == uri {
				return true
			}
		case 't':
			if slices.Contains(tags, note[1:]) {
				return true
			}
		default:
			if match, ok := readTarget(note); !ok || match(uri) {
				return true
			}
		}
	}
	return false
}

// post notes what this instance forgets and returns its number.
func (n *news) post(notes ...string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.posted++
	if n.pending = append(n.pending, notes...); len(n.pending) > maxPending {
		n.pending = []string{newsAll}
	}
	return n.posted
}

// next is what to ask the ledger.
func (n *news) next() (after int64, notes []string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.read, slices.Clone(n.pending[:min(len(n.pending), sentAtOnce)])
}

// take learns what the ledger said after sent had been written. It returns what
// memory is to forget, and whether there is more to send or to read.
func (n *news) take(p store.Pages, sent []string, now time.Time) (forget []string, more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) >= len(sent) && slices.Equal(n.pending[:len(sent)], sent) { // else they became newsAll meanwhile
		n.pending = slices.Clone(n.pending[len(sent):])
	}
	lost := n.begun != 0 && n.begun != p.Begun
	switch {
	case lost: // perhaps before the others had read it
		for _, r := range n.recent {
			if now.Sub(r.at) < tellAgain {
				n.pending = append(n.pending, r.note)
			}
		}
	case n.read < p.Floor && p.Floor > p.Begun:
		forget = append(forget, newsAll) // what is missing is not known
		n.all = max(n.all, p.Floor)
	}
	for _, note := range sent {
		n.recent = append(n.recent, ownNews{note, now})
	}
	n.recent = n.recent[max(0, len(n.recent)-maxRecent):]
	for _, note := range p.Notes {
		n.learn(note)
		forget = append(forget, note.Text)
	}
	if n.last == nil || len(n.last) > 2*store.LedgerKeep {
		kept := map[string]int64{}
		for note, seq := range n.last {
			if seq > p.Floor {
				kept[note] = seq
			}
		}
		n.last = kept
	}
	if lost && p.Begun <= n.read { // by a clock that went back: read anew
		p.Read = p.Begun
		n.last, n.wide, n.all = nil, nil, 0
	}
	n.begun, n.floor, n.read = p.Begun, p.Floor, p.Read
	if len(n.pending) == 0 && n.told != n.posted {
		n.told = n.posted
		if n.telling != nil {
			close(n.telling)
			n.telling = nil
		}
	}
	if p.Read == p.Last {
		n.heard = now
	}
	return forget, p.Read != p.Last || len(n.pending) > 0
}

func (n *news) learn(note store.Note) {
	if note.Text == "" {
		n.all = note.Seq
		return
	}
	switch note.Text[0] {
	case 'u', 't':
		if n.last == nil {
			n.last = map[string]int64{}
		}
		n.last[note.Text] = note.Seq
	case 'n', 'p':
		match, ok := readTarget(note.Text)
		if !ok {
			n.all = note.Seq
			return
		}
		if n.wide = append(n.wide, wideNews{match, note.Seq}); len(n.wide) > maxWide {
			n.all = max(n.all, n.wide[0].seq)
			n.wide = n.wide[1:]
		}
	default: // also what another version means
		n.all = note.Seq
	}
}

// toldBy returns a channel that is closed once more is told, nil when all up to
// number is.
func (n *news) toldBy(number int64) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told >= number {
		return nil
	}
	if n.telling == nil {
		n.telling = make(chan struct{})
	}
	return n.telling
}
