package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// answer writes v as JSON, indented unless the query says compact.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if !r.URL.Query().Has("compact") {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(v); err != nil {
		s.log.Error("admin answer could not be encoded", "path", r.URL.Path, "error", err)
		problem(w, http.StatusInternalServerError, "encoding", "The answer could not be encoded; the log says why.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(buf.Bytes())
}

// problem writes an error as RFC 9457 has it.
func problem(w http.ResponseWriter, status int, code, detail string) {
	body, _ := json.Marshal(struct { // a struct of strings and a number always encodes
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{"urn:lintel:admin:" + code, http.StatusText(status), status, detail})
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// ask answers with what a source says.
func (s *Server) ask(name string, source func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if source == nil {
			absent(w, name)
			return
		}
		s.answer(w, r, http.StatusOK, source())
	}
}

func absent(w http.ResponseWriter, name string) {
	problem(w, http.StatusNotFound, "absent", fmt.Sprintf("This process has no %s.", name))
}

// readOne reads a request's body, which guard bounds, as one JSON value; more says
// that something follows it.
func readOne(r *http.Request, into any) (more bool, err error) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return false, err
	}
	_, err = d.Token()
	return !errors.Is(err, io.EOF), nil
}
