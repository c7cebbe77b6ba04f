package http1

import "sync"

// Memory for TLS records is lent to connections while there is something in it.

// recordPools hold what has been read and not yet been decrypted.
var recordPools = [2]*sync.Pool{newPieces(tlsReadSize), newPieces(tlsReadMore)}

// sealedPools hold what has been encrypted and not yet been sent.
var sealedPools = [2]*sync.Pool{newPieces(tlsSmall), newPieces(tlsLarge)}

func newPieces(size int) *sync.Pool {
	return &sync.Pool{New: func() any { p := make([]byte, size); return &p }}
}

func giveRecords(p *[]byte) {
	if len(*p) == tlsReadSize {
		recordPools[0].Put(p)
	} else {
		recordPools[1].Put(p)
	}
}

// takeSealed gives empty memory with room for n bytes, and more behind if they
// are many: the first record of a piece tells little of its size.
func takeSealed(n int) *[]byte {
	from := sealedPools[0]
	if n > tlsSmall {
		from = sealedPools[1]
	}
	p := from.Get().(*[]byte)
	*p = (*p)[:0]
	return p
}

func giveSealed(p *[]byte) {
	poison(*p)
	switch cap(*p) { // any other has grown
	case tlsSmall:
		sealedPools[0].Put(p)
	case tlsLarge:
		sealedPools[1].Put(p)
	}
}
