package compose

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestStorageKeyInHexOrBase64(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb, 0xef}, 16) // - and + in base64
	for _, text := range []string{hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)) + "\n", base64.StdEncoding.EncodeToString(key),
		base64.RawStdEncoding.EncodeToString(key), base64.URLEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)} {
		if got, err := storageKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "hunter2", hex.EncodeToString(key[1:]), base64.StdEncoding.EncodeToString(key[:16]), strings.Repeat("0f", 33)} {
		if _, err := storageKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "openssl rand -hex 32") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
