package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Flights lets concurrent askers of one thing send one of them ahead. It holds
// one entry per leader that is under way.
type Flights struct {
	mu   sync.Mutex
	open map[string]*Flight
	seed maphash.Seed
	solo [1024]atomic.Uint64 // by hash of the key: the hash's upper half and until when, in seconds
}

// Flight is one leader's errand.
type Flight struct {
	key    string
	began  time.Time
	done   chan struct{}
	lost   bool         // written before done is closed
	handed atomic.Int64 // when the leader's client was last given something to take, 0 while it is not waited for
	idle   atomic.Int64 // how long it was waited for before
}

// Patience with a leader's client: so long, all in all, may those who wait for
// the leader wait for its client to take its answer.
const Patience = 100 * time.Millisecond

// soloFor is how long it is remembered that waiting for a leader was in vain.
const soloFor = 10 * time.Second

// NewFlights returns an empty set.
func NewFlights() *Flights { return &Flights{open: map[string]*Flight{}, seed: maphash.MakeSeed()} }

// Join makes the caller the leader for key, or gives it the flight to wait for.
// A flight that has been under way for patience, or whose leader's client is
// slow, is not waited for: the caller leads another, so a leader that hangs holds
// nobody up for longer. A leader must Land its flight.
func (f *Flights) Join(key []byte, now time.Time, patience time.Duration) (fl *Flight, leader bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.open[string(key)]; fl != nil && now.Sub(fl.began) < patience && !fl.Slow() {
		return fl, false
	}
	fl = &Flight{key: string(key), began: now, done: make(chan struct{})}
	f.open[fl.key] = fl
	return fl, true
}

// Land ends the flight and lets those go who wait for it. Only its leader calls
// it, once. Lost says that it ended before anything was known: one of those who
// waited may lead anew.
func (f *Flights) Land(fl *Flight, lost bool) {
	f.mu.Lock()
	if f.open[fl.key] == fl {
		delete(f.open, fl.key)
	}
	f.mu.Unlock()
	fl.lost = lost
	close(fl.done)
}

// Landed is closed when the leader has landed.
func (fl *Flight) Landed() <-chan struct{} { return fl.done }

// Lost reports, once the flight has landed, whether nothing came of it.
func (fl *Flight) Lost() bool { return fl.lost }

// Handed says that the leader's client was given a piece of its answer.
func (fl *Flight) Handed() { fl.handed.Store(time.Now().UnixNano()) }

// Taken says that it has taken it.
func (fl *Flight) Taken() {
	if at := fl.handed.Swap(0); at != 0 {
		fl.idle.Add(time.Now().UnixNano() - at)
	}
}

// Slow reports whether the flight has waited for its leader's client for longer
// than Patience.
func (fl *Flight) Slow() bool {
	idle := fl.idle.Load()
	if at := fl.handed.Load(); at != 0 {
		idle += time.Now().UnixNano() - at
	}
	return idle > int64(Patience)
}

// Part remembers for some seconds that answers for key are not shared, so that
// nobody waits for one in vain.
func (f *Flights) Part(key []byte, now time.Time) {
	slot, mark := f.mark(key)
	slot.Store(mark | uint64(uint32(now.Add(soloFor).Unix())))
}

// Unite takes that back.
func (f *Flights) Unite(key []byte) {
	slot, mark := f.mark(key)
	if old := slot.Load(); old&^0xffffffff == mark {
		slot.CompareAndSwap(old, 0)
	}
}

// Parted reports whether Part is in force for key. Rarely one key's mark stands
// for another's, which then is asked for without waiting.
func (f *Flights) Parted(key []byte, now time.Time) bool {
	slot, mark := f.mark(key)
	v := slot.Load()
	return v != 0 && v&^0xffffffff == mark && now.Unix() < int64(uint32(v))
}

func (f *Flights) mark(key []byte) (*atomic.Uint64, uint64) {
	h := maphash.Bytes(f.seed, key)
	return &f.solo[h%uint64(len(f.solo))], h &^ 0xffffffff
}
