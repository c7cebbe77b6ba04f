package store

import (
	"sync"
	"time"
)

// Flights lets concurrent askers of one thing send one of them ahead. It holds
// one entry per leader that is under way.
type Flights struct {
	mu   sync.Mutex
	open map[string]*Flight
}

// Flight is one leader's errand.
type Flight struct {
	key   string
	began time.Time
	done  chan struct{}
}

// NewFlights returns an empty set.
func NewFlights() *Flights { return &Flights{open: map[string]*Flight{}} }

// Join makes the caller the leader for key, or gives it the flight to wait for.
// A flight that has been under way for patience is not waited for: the caller
// leads another, so a leader that hangs holds nobody up for longer. A leader
// must Land its flight.
func (f *Flights) Join(key []byte, now time.Time, patience time.Duration) (fl *Flight, leader bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.open[string(key)]; fl != nil && now.Sub(fl.began) < patience {
		return fl, false
	}
	fl = &Flight{key: string(key), began: now, done: make(chan struct{})}
	f.open[fl.key] = fl
	return fl, true
}

// Land ends the flight and lets those go who wait for it. Only its leader calls
// it, once.
func (f *Flights) Land(fl *Flight) {
	f.mu.Lock()
	if f.open[fl.key] == fl {
		delete(f.open, fl.key)
	}
	f.mu.Unlock()
	close(fl.done)
}

// Landed is closed when the leader has landed.
func (fl *Flight) Landed() <-chan struct{} { return fl.done }
