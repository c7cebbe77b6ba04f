package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// sealedKV is the file's form: the sum tells a damaged file from a whole one.
type sealedKV struct {
	Sum string          `json:"sha256"`
	KV  json.RawMessage `json:"kv"`
}

func kvFile(dir, prefix string) string {
	sum := sha256.Sum256([]byte(prefix))
	return filepath.Join(dir, "kv-"+hex.EncodeToString(sum[:8])+".json")
}

// SaveKV keeps kv in a folder.
func SaveKV(dir string, kv KV) error {
	text, err := json.Marshal(kv)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if text, err = json.Marshal(sealedKV{hex.EncodeToString(sum[:]), text}); err != nil {
		return err
	}
	return replaceFile(kvFile(dir, kv.Prefix), text)
}

// LoadKV finds what SaveKV has kept; ok is false when there is nothing.
func LoadKV(dir, prefix string) (kv KV, ok bool, err error) {
	f, err := os.Open(kvFile(dir, prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return kv, false, nil
	}
	if err != nil {
		return kv, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4*kvMostBytes))
	if err != nil {
		return kv, false, err
	}
	var s sealedKV
	if err := json.Unmarshal(text, &s); err != nil {
		return kv, false, fmt.Errorf("discovery: %s is damaged: %w", f.Name(), err)
	}
	if sum := sha256.Sum256(s.KV); s.Sum != hex.EncodeToString(sum[:]) {
		return kv, false, fmt.Errorf("discovery: %s is damaged: its checksum does not match", f.Name())
	}
	if err := json.Unmarshal(s.KV, &kv); err != nil || kv.Prefix != prefix {
		return KV{}, false, fmt.Errorf("discovery: %s is of the prefix %q, want %q (%v)", f.Name(), kv.Prefix, prefix, err)
	}
	return kv, true, nil
}
