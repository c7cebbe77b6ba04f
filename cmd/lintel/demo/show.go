package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Command is one line to copy, and what its output contains.
type Command struct {
	Name    string `json:"name"`
	Command string `json:"command"`
	Expect  string `json:"expect"`
}

// Ready is what the demo prints once everything serves.
type Ready struct {
	Ingress  string            `json:"ingress"`
	Admin    string            `json:"admin"`
	Token    string            `json:"token"`
	Config   string            `json:"config"`
	Services map[string]string `json:"services"`          // mesh address by service
	Sockets  map[string]string `json:"sockets,omitempty"` // SPIFFE_ENDPOINT_SOCKET by workload
	Commands []Command         `json:"commands"`
}

// Ready describes the running demo.
func (d *Demo) Ready() (Ready, error) {
	token, err := d.key.token()
	if err != nil {
		return Ready{}, fmt.Errorf("demo: %w", err)
	}
	base := "http://" + d.ingress.Addr("edge")
	r := Ready{Ingress: base, Admin: "http://" + d.ingress.AdminAddr(), Token: token, Config: d.ConfigFile(),
		Services: map[string]string{}, Sockets: d.sockets}
	for i, s := range services {
		r.Services[s.name] = d.sidecars[i].Addr("mesh")
	}
	auth := "-H 'Authorization: Bearer " + token + "'"
	r.Commands = []Command{
		{"an authorized call", "curl -s " + auth + " " + base + "/users/me", `"id": "ada"`},
		{"no token: 401", "curl -si " + base + "/users/me", "401 Unauthorized"},
		{"one too many: 429", "for i in 1 2 3 4; do curl -s -o /dev/null -w '%{http_code} ' " + base + "/limited; done; echo", "429"},
		{"a cache hit", "curl -s -o /dev/null " + base + "/stock/lintel; curl -si " + base + "/stock/lintel", "lintel; hit"},
		{"the whole hop chain", "curl -s " + auth + " " + base + "/orders/42", `"service": "inventory"`},
	}
	return r, nil
}

// WriteJSON prints r as one line.
func (r Ready) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteText prints r for a person.
func (r Ready) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Lintel demo is ready.\n\n  ingress    %s\n  admin      %s\n  config     %s  (edit it: it reloads)\n", r.Ingress, r.Admin, r.Config)
	for _, name := range slices.Sorted(maps.Keys(r.Services)) {
		fmt.Fprintf(&b, "  %-10s mesh %s  (mTLS)\n", name, r.Services[name])
	}
	fmt.Fprintf(&b, "\nThe demo user's token, good for twelve hours:\n\n%s\n\nTry:\n", r.Token)
	for i, c := range r.Commands {
		fmt.Fprintf(&b, "\n%d. %s\n   %s\n", i+1, c.Name, c.Command)
	}
	b.WriteString("\nCtrl-C stops everything.\n")
	_, err := io.WriteString(w, b.String())
	return err
}
