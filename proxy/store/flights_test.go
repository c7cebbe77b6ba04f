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
	f.Land(first)
	select {
	case <-second.Landed():
	default:
		t.Fatal("a follower was not let go")
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
	f.Land(old)
	if got, leader := f.Join([]byte("k"), now.Add(time.Second), time.Second); leader || got != fresh {
		t.Fatal("the old leader's landing took the new flight away")
	}
}
