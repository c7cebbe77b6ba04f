package store

import (
	"testing"
	"time"
)

func TestOneLeadsAndTheOthersFollow(t *testing.T) {
	f, now := NewFlights(), time.Now()
	first, leader := f.Join([]byte("k"), now, time.Second)
	if !leader {
		t.Fatal("the first does not lead")
	}
	second, leader := f.Join([]byte("k"), now, time.Second)
	if leader || second != first {
		t.Fatal("the second does not follow the first")
	}
	if _, leader := f.Join([]byte("other"), now, time.Second); !leader {
		t.Fatal("another key follows")
	}
	f.Land(first, false)
	select {
	case <-second.Landed():
	default:
		t.Fatal("a follower was not let go")
	}
	if second.Lost() {
		t.Error("it landed and is said to be lost")
	}
	if _, leader := f.Join([]byte("k"), now, time.Second); !leader {
		t.Fatal("a landed flight is still followed")
	}
}

func TestAHangingLeaderIsReplaced(t *testing.T) {
	f, now := NewFlights(), time.Now()
	old, _ := f.Join([]byte("k"), now, time.Second)
	fresh, leader := f.Join([]byte("k"), now.Add(time.Second), time.Second)
	if !leader {
		t.Fatal("still following after patience ended")
	}
	f.Land(old, false)
	if got, leader := f.Join([]byte("k"), now.Add(time.Second), time.Second); leader || got != fresh {
		t.Fatal("the old leader's landing took the new flight away")
	}
}

func TestAFlightWithASlowClientIsNotWaitedFor(t *testing.T) {
	f, now := NewFlights(), time.Now()
	old, _ := f.Join([]byte("k"), now, time.Hour)
	old.Handed()
	old.Taken()
	if _, leader := f.Join([]byte("k"), now, time.Hour); leader {
		t.Fatal("a client that takes what it is given counts as slow")
	}
	old.Handed()
	old.handed.Add(-2 * int64(Patience))
	if !old.Slow() {
		t.Fatal("a client that takes nothing does not count as slow")
	}
	old.Taken()
	if !old.Slow() {
		t.Fatal("what it took before is forgotten")
	}
	if _, leader := f.Join([]byte("k"), now, time.Hour); !leader {
		t.Fatal("it is still waited for")
	}
}

func TestALostFlightSaysSo(t *testing.T) {
	f := NewFlights()
	fl, _ := f.Join([]byte("k"), time.Now(), time.Hour)
	f.Land(fl, true)
	<-fl.Landed()
	if !fl.Lost() {
		t.Error("it is not said to be lost")
	}
}

func TestWhatIsNotSharedIsNotWaitedFor(t *testing.T) {
	f, now := NewFlights(), time.Now()
	k := []byte("k")
	if f.Parted(k, now) {
		t.Fatal("parted at first")
	}
	f.Part(k, now)
	if !f.Parted(k, now.Add(soloFor-2*time.Second)) || f.Parted(k, now.Add(soloFor+time.Second)) {
		t.Error("not remembered for its time")
	}
	if f.Parted([]byte("other"), now) {
		t.Error("another key is parted too")
	}
	f.Unite([]byte("other"))
	if !f.Parted(k, now) {
		t.Error("another key's union united it")
	}
	f.Unite(k)
	if f.Parted(k, now) {
		t.Error("still parted")
	}
}
