package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSecretFile bounds what a file: reference reads, in bytes.
const maxSecretFile = 1 << 20

const filePrefix = "file:"

// readSecret reads the file that a secret refers to, without the white space
// around its text. A relative path starts at the configuration file's folder.
// Errors never show what was read.
func (d *document) readSecret(path string) (string, error) {
	if path == "" {
		return "", errors.New("expected a path after file:, found nothing")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	d.addFile(path)
	// Asked before opening, because opening a pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return "", plain(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", plain(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", plain(path, err)
	}
	d.wasRead(path, data)
	if len(data) > maxSecretFile {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxSecretFile)
	}
	s := strings.TrimSpace(string(data))
	if s == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return s, nil
}

// plain says the cause without the system call's name.
func plain(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("cannot read %s: %w", path, err)
}

// looksSecret guesses from a key whether its value should be shown.
func looksSecret(key string) bool {
	k := strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(key))
	for _, word := range []string{"secret", "token", "password", "passwd", "passphrase", "credential", "authorization", "cookie", "apikey", "privatekey"} {
		if strings.Contains(k, word) {
			return true
		}
	}
	return strings.HasSuffix(k, "key") || strings.HasSuffix(k, "keys") || k == "pass" || k == "pwd" || k == "auth"
}

// maskUserinfo hides the password of URLs like redis://user:password@host, and
// in the query of one what looks like a secret.
func maskUserinfo(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	if strings.Contains(s, "@") {
		s = regexp.MustCompile(`(://[^/@:\s]*):[^/@\s]+@`).ReplaceAllString(s, "${1}:"+redacted+"@")
	}
	if !strings.Contains(s, "?") {
		return s
	}
	return queryPair.ReplaceAllStringFunc(s, func(pair string) string {
		if name, _, _ := strings.Cut(pair[1:], "="); looksSecret(name) {
			return pair[:1] + name + "=" + redacted
		}
		return pair
	})
}

var queryPair = regexp.MustCompile(`[?&][^=&#\s]+=[^&#\s"']+`)
