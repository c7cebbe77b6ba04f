package tracing

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestHexIsAsUsual(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for n := range len(all) {
		if got, want := string(appendHex([]byte("x"), all[n:])), "x"+hex.EncodeToString(all[n:]); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestLineTimesAreAsUsual(t *testing.T) {
	now := time.Now()
	for _, at := range []time.Time{now, now, now.Add(-time.Hour), now.Add(time.Second), time.UnixMilli(1), {},
		time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.FixedZone("", 3600)), now.Add(24 * time.Hour), now} {
		want := at.UTC().Format("2006-01-02T15:04:05.000Z")
		if got := string(appendTime(nil, at)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSecondsAreAsUsual(t *testing.T) {
	var none key
	for range 10000 {
		d := time.Duration(rand.Int64N(1 << rand.IntN(50)))
		if d%time.Microsecond == time.Microsecond/2 {
			continue // halfway: a float is hardly ever there
		}
		l := line{text: true}
		l.seconds(&none, d)
		if want := strconv.FormatFloat(d.Seconds(), 'f', 6, 64); string(l.buf) != want {
			t.Fatalf("%d ns: got %s, want %s", d, l.buf, want)
		}
	}
	l := line{text: true}
	if l.seconds(&none, -time.Second); string(l.buf) != "0.000000" {
		t.Errorf("a negative duration is %s", l.buf)
	}
}

// TestEveryByteThatNeedsItStopsThePlainRun, wherever in eight bytes it stands.
func TestEveryByteThatNeedsItStopsThePlainRun(t *testing.T) {
	for c := range 256 {
		for n := range 20 {
			for at := range n {
				v := make([]byte, n)
				for i := range v {
					v[i] = " ~!#[]a0"[i%8]
				}
				v[at] = byte(c)
				want := n
				if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
					want = at
				}
				if got := plainUntil(string(v)); got != want {
					t.Fatalf("%q: %d, want %d", v, got, want)
				}
			}
		}
	}
}
