package config

import (
	"slices"
	"testing"
)

func TestAddressesInAListWithinBracesAreScalars(t *testing.T) {
	s, err := Parse("t.yaml", []byte("version: 1\nservices:\n  a: {mesh: true, static: [127.0.0.1:8080, 'b:81', c.example:82]}\n  d: {static: [host:1]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := addresses(s.Services["a"].Static), []string{"127.0.0.1:8080", "b:81", "c.example:82"}; !slices.Equal(got, want) {
		t.Errorf("static %q, want %q", got, want)
	}
	if got := addresses(s.Services["d"].Static); !slices.Equal(got, []string{"host:1"}) {
		t.Errorf("static %q", got)
	}
}

func TestAMapWithinAListWithinBracesStaysOne(t *testing.T) {
	_, err := Parse("t.yaml", []byte("version: 1\nservices:\n  a: {static: [host: 1]}\n"))
	if err == nil {
		t.Error("a map was taken for an address")
	}
}
