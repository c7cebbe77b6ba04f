package loop

import "math/bits"

// The wheel's measures: ticks of 1.05 ms; slots of one tick, 0.27 s, 69 s and
// 4.9 h. What is due later than 52 days goes around again.
const (
	tickBits  = 20
	slotBits  = 8
	slotCount = 1 << slotBits
	slotMask  = slotCount - 1
	levels    = 4
	farthest  = 1<<(levels*slotBits) - 1
)

// wheel holds timers by when they are due: setting and unsetting one is a few
// pointer writes, however many there are. Those on the upper levels move down
// as their time comes nearer.
type wheel struct {
	now   int64 // the last tick that was dealt with
	count int
	slots [levels * slotCount]*Timer
	used  [levels][slotCount / 64]uint64 // which slots are not empty
}

// tickAt is the first tick at which ns has passed.
func tickAt(ns int64) int64 { return (ns + 1<<tickBits - 1) >> tickBits }

// add links t for the given tick, at the earliest the next one.
func (w *wheel) add(t *Timer, tick int64) {
	ahead := min(max(tick-w.now, 1), farthest)
	t.tick = w.now + ahead
	level := 0
	for ahead>>((level+1)*slotBits) > 0 {
		level++
	}
	i := int(t.tick>>(level*slotBits)) & slotMask
	t.slot = uint16(level*slotCount + i)
	head := w.slots[t.slot]
	t.next = head
	if head != nil {
		head.prev = t
	}
	w.slots[t.slot] = t
	w.used[level][i/64] |= 1 << (i % 64)
	w.count++
}

func (w *wheel) remove(t *Timer) {
	if t.tick == 0 {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else if w.slots[t.slot] = t.next; t.next == nil {
		i := t.slot & slotMask
		w.used[t.slot>>slotBits][i/64] &^= 1 << (i % 64)
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.tick = nil, nil, 0
	w.count--
}

// advance goes on to tick to and calls due for every timer that it passes,
// unlinked.
func (w *wheel) advance(to int64, due func(*Timer)) {
	for w.now < to {
		switch {
		case w.count == 0:
			w.now = to
			return
		case w.used[0] == [slotCount / 64]uint64{}:
			w.now = min(to, w.now|slotMask) // nothing before the next slot of level 1
			if w.now == to {
				return
			}
		}
		w.now++
		for level := 1; level < levels && w.now&(1<<(level*slotBits)-1) == 0; level++ {
			w.lower(level)
		}
		for s := &w.slots[w.now&slotMask]; *s != nil; {
			t := *s
			w.remove(t)
			due(t)
		}
	}
}

// lower moves the timers of a level's current slot to the levels below.
func (w *wheel) lower(level int) {
	s := &w.slots[level*slotCount+int(w.now>>(level*slotBits))&slotMask]
	for *s != nil {
		t := *s
		tick := t.tick
		w.remove(t)
		if tick == w.now { // due in the very tick that is being dealt with
			w.put(t)
			continue
		}
		w.add(t, tick)
	}
}

// put links t into the slot of the current tick.
func (w *wheel) put(t *Timer) {
	i := int(w.now) & slotMask
	t.tick, t.slot = w.now, uint16(i)
	if t.next = w.slots[i]; t.next != nil {
		t.next.prev = t
	}
	w.slots[i] = t
	w.used[0][i/64] |= 1 << (i % 64)
	w.count++
}

// next is the tick at which advance has something to do, at the latest.
func (w *wheel) next() (tick int64, any bool) {
	if w.count == 0 {
		return 0, false
	}
	for level := range levels {
		at := w.now >> (level * slotBits)
		if d := w.distance(level, int(at)&slotMask); d > 0 {
			if t := (at + int64(d)) << (level * slotBits); !any || t < tick {
				tick, any = t, true
			}
		}
	}
	return tick, any
}

// distance is how many slots after slot i the next one in use is, 0 if there is
// none. Slot i itself is a whole round away.
func (w *wheel) distance(level, i int) int {
	used := &w.used[level]
	for k := 0; k <= len(used); k++ {
		word := (i/64 + k) % len(used)
		v := used[word]
		switch {
		case k == 0:
			v &= ^uint64(0) << (i % 64) << 1 // those after i
		case k == len(used):
			v &= ^(^uint64(0) << (i % 64) << 1) // up to i
		}
		if v != 0 {
			d := word*64 + bits.TrailingZeros64(v) - i
			if d <= 0 {
				d += slotCount
			}
			return d
		}
	}
	return 0
}
