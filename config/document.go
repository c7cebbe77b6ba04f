package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// document is a parsed file: what positions, excerpts and sections need.
type document struct {
	name   string
	dir    string // relative file: paths start here
	source string
	root   *node
	sealed bool // it refers to nothing of this machine: see Snippet

	mu      sync.Mutex
	secrets map[int]bool                 // lines that hold secrets
	files   []string                     // that secrets were read from
	read    map[string][sha256.Size]byte // what was read of each, and of the document itself
}

// origin is where a snapshot's values stand.
type origin struct {
	doc   *document
	parts []part // snippets merged into it
}

// Load reads, decodes and validates a file. Its error is an Errors when the
// file could be read.
func Load(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", plain(path, err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", plain(path, err))
	}
	return Parse(path, data)
}

// Parse is Load of text that was read already; name is what errors call it,
// and relative file: references start at its folder.
func Parse(name string, data []byte) (*Snapshot, error) {
	s := &Snapshot{}
	doc, err := parseInto(name, data, s)
	if err != nil {
		return nil, err
	}
	doc.wasRead(name, data)
	s.doc = doc
	return s, nil
}

// parseInto decodes a whole file into the struct that root points to.
func parseInto(name string, data []byte, root any) (*document, error) {
	doc := &document{
		name:   name,
		dir:    filepath.Dir(name),
		source: strings.TrimPrefix(string(data), "\ufeff"),
	}
	d := &decoder{collector: &collector{doc: doc}}
	doc.root = parseYAML(d.collector)
	d.value(doc.root, reflect.ValueOf(root).Elem(), rules{}, "")
	return doc, d.err()
}

// Pos says where the value at path (as "routes[2].service") stands, as
// file:line: of the deepest part that the file has. Keys with dots may be
// written plainly or as services["a.b"].
func (o origin) Pos(path string) string {
	if o.doc == nil {
		return "(no file)"
	}
	if doc, local := o.place(path); doc != nil {
		return doc.pos(doc.root, local)
	}
	return o.doc.pos(o.doc.root, path)
}

// Given is Pos of a value that the configuration gives; "" when it is left to its
// default.
func (o origin) Given(path string) string {
	if o.doc == nil {
		return ""
	}
	doc, local := o.place(path)
	if doc == nil {
		doc, local = o.doc, path
	}
	if doc.root == nil {
		return ""
	}
	line, _, whole := doc.root.find(local)
	if !whole {
		return ""
	}
	return fmt.Sprintf("%s:%d", doc.name, line)
}

// Files lists the files that secrets were read from, those of decoded
// sections included.
func (o origin) Files() []string {
	if o.doc == nil {
		return nil
	}
	o.doc.mu.Lock()
	defer o.doc.mu.Unlock()
	return slices.Clone(o.doc.files)
}

// Read is the digest of what was read of the file, or of one of Files; false when
// nothing was.
func (o origin) Read(path string) (sum [sha256.Size]byte, ok bool) {
	if o.doc == nil {
		return sum, false
	}
	o.doc.mu.Lock()
	defer o.doc.mu.Unlock()
	sum, ok = o.doc.read[path]
	return sum, ok
}

func (d *document) wasRead(path string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read == nil {
		d.read = map[string][sha256.Size]byte{}
	}
	d.read[path] = sha256.Sum256(data)
}

func (d *document) pos(n *node, path string) string {
	if n == nil {
		return d.name
	}
	line, _ := n.locate(path)
	return fmt.Sprintf("%s:%d", d.name, line)
}

func (d *document) addFile(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
}

// addSecret remembers the lines of a secret, so that excerpts mask them.
func (d *document) addSecret(n *node) {
	d.addSecretLine(n.line)
	for i := range strings.Count(n.text, "\n") { // a block scalar starts on the next line
		d.addSecretLine(n.line + 1 + i)
	}
}

func (d *document) addSecretLine(line int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.secrets == nil {
		d.secrets = map[int]bool{}
	}
	d.secrets[line] = true
}

func (d *document) isSecretLine(line int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.secrets[line]
}
