package resource

import "strings"

// maxVariable bounds a variable's name.
const maxVariable = 128

// Variable is a named value of the cluster's environment, which credentials and the
// configuration of plugins refer to as env://NAME. Its id is its name. A variable of a node's
// own environment with the same name counts before it, on that node.
type Variable struct {
	Meta
	Value *Sealed `json:"value"`
}

// Label implements Record: a variable is called by its id.
func (v *Variable) Label() string { return "" }

// Validate implements Record.
func (v *Variable) Validate() error {
	switch {
	case !validVariableName(v.ID):
		return invalidf("id", "a variable's name has letters, digits and underscores, does not begin with a digit, and has at most %d characters", maxVariable)
	case strings.HasPrefix(v.ID, "CONCLAVE_"):
		return invalidf("id", "names that begin with CONCLAVE_ are for what a node itself is told by its own environment")
	case v.Value == nil:
		return invalidf("value", "a variable has a value; delete the variable to be without")
	}
	return nil
}

func validVariableName(name string) bool {
	if name == "" || len(name) > maxVariable || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for _, r := range name {
		if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}

// Canonicalize implements Record.
func (v *Variable) Canonicalize() {}

// EachSealed visits the value, as Credential's does.
func (v *Variable) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitSealed(&v.Value, "value", visit)
}

// VariableName is the name in a reference to a variable: env://NAME or os.environ/NAME.
func VariableName(ref string) (name string, ok bool) {
	if name, ok = strings.CutPrefix(ref, "env://"); ok {
		return name, true
	}
	return strings.CutPrefix(ref, "os.environ/")
}
