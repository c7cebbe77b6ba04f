package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// freeAddr finds a loopback port nobody has. It stays below the range that
// outgoing connections take theirs from: thousands of those are about to be made.
func freeAddr() (string, error) {
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port between 12000 and 32000")
}

// newPlace gives a hop its addresses and its folder.
func (b *Bench) newPlace(dir, next string) (Place, error) {
	p := Place{Dir: dir, Next: next}
	for _, a := range []*string{&p.Listen, &p.Extra, &p.Admin} {
		var err error
		if *a, err = freeAddr(); err != nil {
			return p, err
		}
	}
	return p, nil
}
