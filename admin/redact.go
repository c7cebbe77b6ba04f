package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// config shows the configuration in force. Its owner has redacted it; here a
// second fence catches what an overlooked field would let out.
func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	if s.src.Config == nil {
		absent(w, "configuration")
		return
	}
	raw, err := json.Marshal(s.src.Config())
	var tree any
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		err = d.Decode(&tree)
	}
	if err != nil {
		s.log.Error("configuration could not be encoded", "error", err)
		problem(w, http.StatusInternalServerError, "encoding", "The configuration could not be encoded; the log says why.")
		return
	}
	s.answer(w, r, http.StatusOK, redact(tree))
}

const hidden = "[redacted]"

// secretNames are how keys that hold secrets end, compared without _ and -.
var secretNames = []string{
	"password", "passphrase", "secret", "token", "apikey", "privatekey", "secretkey", "accesskey", "signingkey",
	"credential", "credentials", "authorization", "cookie",
}

// redact hides the strings under telling keys, in place.
func redact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			if secretKey(k) {
				v[k] = hide(child)
			} else {
				v[k] = redact(child)
			}
		}
	case []any:
		for i := range v {
			v[i] = redact(v[i])
		}
	}
	return v
}

func secretKey(k string) bool {
	k = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(k))
	return slices.ContainsFunc(secretNames, func(n string) bool { return strings.HasSuffix(k, n) })
}

// hide covers strings and lists of them. A reference says where a secret is and
// not what it is, and telling an empty one from a set one helps.
func hide(v any) any {
	switch v := v.(type) {
	case string:
		if v == "" || strings.HasPrefix(v, "file:") {
			return v
		}
		return hidden
	case []any:
		for i := range v {
			v[i] = hide(v[i])
		}
		return v
	}
	return redact(v)
}
