package split

import "time"

// SideStatus is a side as the admin API shows it.
type SideStatus struct {
	Side       string     `json:"side"`
	Weight     int        `json:"weight"`    // as configured
	InForce    int        `json:"in_force"`  // 0 while it is rolled back
	Condition  bool       `json:"condition"` // some requests go there whatever the weight
	RolledBack string     `json:"rolled_back,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
	Until      *time.Time `json:"until,omitempty"`
}

// Status is the state of every side.
func (f *Filter) Status() []SideStatus {
	out := []SideStatus{}
	for i := range f.sides {
		s := &f.sides[i]
		line := SideStatus{Side: s.name, Weight: s.weight, InForce: s.now(), Condition: len(s.when) > 0}
		if s.watch != nil {
			if v := s.watch.down.Load(); v != nil {
				line.RolledBack, line.Since = v.why, &v.at
				if !v.until.IsZero() {
					line.Until = &v.until
				}
			}
		}
		out = append(out, line)
	}
	return out
}

// Route is the route that is watched.
func (s *State) Route() string { return s.route }

// Rollbacks counts how often a side has lost its weight.
func (s *State) Rollbacks() uint64 { return s.times.Load() }

// Down yields the sides that are rolled back, and why.
func (s *State) Down(yield func(side, why string)) {
	for name, w := range s.sides {
		if why := w.rolledBack(); why != "" {
			yield(name, why)
		}
	}
}

// Sides yields every watched side but the stable one, and whether it is rolled
// back.
func (s *State) Sides(yield func(side string, down bool)) {
	for name, w := range s.sides {
		if name != s.stable {
			yield(name, w.rolledBack() != "")
		}
	}
}
