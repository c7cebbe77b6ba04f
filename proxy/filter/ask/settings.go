package ask

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"lintel.dev/lintel/proxy/filter"
)

// Settings reads the CA file of whoever is asked, if there is one, and makes the
// fingerprint under which clients and answers are shared: of the section, what
// the file holds, and the consumers that answers may name.
func Settings(section any, caFile string, consumers map[string]string) (ca []byte, print string, err error) {
	if caFile != "" {
		if ca, err = os.ReadFile(caFile); err != nil {
			return nil, "", filter.Errorf("ca_file", "%s", err)
		}
	}
	text, err := json.Marshal(struct {
		Section   any
		CA        []byte
		Consumers []string
	}{section, ca, slices.Sorted(maps.Keys(consumers))})
	if err != nil {
		return nil, "", fmt.Errorf("ask: %w", err)
	}
	sum := sha256.Sum256(text)
	return ca, hex.EncodeToString(sum[:]), nil
}
