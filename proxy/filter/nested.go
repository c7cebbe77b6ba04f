package filter

// Nested is a filter within another's configuration, written as any filter is:
// its name, or a map with its name as the only key. The syntax finds it by its
// methods.
type Nested struct {
	Kind    string
	Section Section
}

// SetFilter is for whoever reads the configuration.
func (n *Nested) SetFilter(kind string, section interface {
	Decode(into any) error
	Pos(path string) string
}) {
	n.Kind, n.Section = kind, section
}

// Filter gives back what SetFilter was given.
func (n Nested) Filter() (kind string, section any) { return n.Kind, n.Section }

// Build builds the filter with the registry of env. Its errors say where in the
// file they belong, and the outer filter returns them as they are.
func (n Nested) Build(env *Env) (Instance, error) {
	in, err := env.Registry.Build(n.Kind, n.Section, env)
	if err != nil {
		return in, &placedError{err}
	}
	return in, nil
}

// placedError names its place in the file already.
type placedError struct{ error }

// Unwrap returns the error itself.
func (e *placedError) Unwrap() error { return e.error }
