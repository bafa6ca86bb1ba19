package resource

// defFilterDeadline is the deadline of a router filter, in milliseconds: every request waits for it.
const defFilterDeadline = 100

// RouterFilter is a plugin that chooses among the deployments that could answer a request, and orders
// them.
type RouterFilter struct {
	Meta
	PluginUse
	Name    string   `json:"name,omitempty"`     // unique; filters are asked in the order of their names
	OnError OnError  `json:"on_error,omitempty"` // pass: the router's own order counts
	Models  []string `json:"models,omitempty"`   // models whose deployments it chooses among; empty: all
}

// Label implements Record.
func (f *RouterFilter) Label() string { return f.Name }

// Canonicalize implements Record.
func (f *RouterFilter) Canonicalize() {
	if f.OnError == "" {
		f.OnError = OnErrorBlock
	}
	if f.DeadlineMS == 0 {
		f.DeadlineMS = defFilterDeadline
	}
}

// Validate implements Record.
func (f *RouterFilter) Validate() error {
	if err := validName("name", f.Name); err != nil {
		return err
	}
	if err := f.validate(); err != nil {
		return err
	}
	if err := validNames("models", f.Models); err != nil {
		return err
	}
	return validOnError(f.OnError)
}
