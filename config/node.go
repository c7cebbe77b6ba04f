package config

type nodeKind uint8

const (
	nullNode nodeKind = iota
	scalarNode
	mapNode
	listNode
)

// style is how a scalar was written, which is what an untyped value is
// inferred from.
type style uint8

const (
	quoted style = iota // quoted or block text
	word                // unquoted text
	number
	boolean
)

// node is one value of a file. Aliases and merge keys are resolved: a value
// used twice stands at the place where it was written.
type node struct {
	kind      nodeKind
	style     style
	line, col int
	text      string  // scalar, before ${ENV} is expanded
	entries   []entry // map, in file order
	items     []*node // list; nil as in entry
}

type entry struct {
	key       string
	line, col int
	value     *node // nil when what stands there was reported
}

func (n *node) get(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// kindName says in words what stands at n, without its value.
func (n *node) kindName() string {
	switch n.kind {
	case mapNode:
		return "a map"
	case listNode:
		return "a list"
	case nullNode:
		return "nothing"
	}
	switch n.style {
	case number:
		return "a number"
	case boolean:
		return "a bool"
	}
	return "a string"
}
