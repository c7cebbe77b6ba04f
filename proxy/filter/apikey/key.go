package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// A key made here is mark, random characters and a checksum: scanners for
// secrets find it by its mark, and a mistyped one is told from an unknown one.
const (
	mark     = "lk_"
	random   = 32 // characters, 190 bits
	checked  = 6
	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	minKey = 22  // characters of a key made elsewhere: 128 bits as letters and digits
	maxKey = 256 // characters
)

// HashPrefix names the hash of a key in a configuration.
const HashPrefix = "sha256:"

// New makes a key.
func New() string {
	b := []byte(mark)
	for range random {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		b = append(b, alphabet[n.Int64()])
	}
	return string(b) + checksum(string(b))
}

func checksum(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var b [checked]byte
	for i := checked - 1; i >= 0; i-- {
		b[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
	return string(b[:])
}

// Hash is what a configuration has of a key. It is a plain SHA-256: keys are
// random and long, so there is nothing to guess that a slow hash would protect,
// and a fast one is computed for every request.
func Hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return HashPrefix + hex.EncodeToString(sum[:])
}

// Check finds what makes a key unfit: too little in it to be safe with a fast
// hash, or a slip of the pen. Its errors do not show the key.
func Check(key string) error {
	for i := 0; i < len(key); i++ {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return errors.New("the key holds a space, a control character or one beyond ASCII: it cannot stand in a header as it is")
		}
	}
	if strings.HasPrefix(key, mark) {
		body, sum := key[:max(0, len(key)-checked)], key[max(0, len(key)-checked):]
		if len(key) != len(mark)+random+checked || checksum(body) != sum {
			return fmt.Errorf("the key begins with %s and its checksum does not fit: a character is wrong or missing", mark)
		}
		return nil
	}
	if len(key) < minKey || len(key) > maxKey {
		return fmt.Errorf("the key has %d characters: want %d to %d, chosen at random (128 bits at least); lintel key new makes one", len(key), minKey, maxKey)
	}
	return nil
}
