package resource

import "encoding/json"

// Callback is a plugin that is told of finished requests, at least once and in order.
type Callback struct {
	Meta
	Name   string          `json:"name,omitempty"`   // unique
	Plugin string          `json:"plugin,omitempty"` // name of a shipped or registered plugin
	Config json.RawMessage `json:"config,omitempty"` // the plugin's own
	// MemoryMB is the MiB of its process above which it is killed; default 256.
	MemoryMB int64 `json:"memory_mb,omitempty"`
}

// Label implements Record.
func (c *Callback) Label() string { return c.Name }

// Canonicalize implements Record.
func (c *Callback) Canonicalize() {}

// Validate implements Record.
func (c *Callback) Validate() error {
	if err := validName("name", c.Name); err != nil {
		return err
	}
	if err := validName("plugin", c.Plugin); err != nil {
		return err
	}
	if len(c.Config) > 0 && !json.Valid(c.Config) {
		return invalidf("config", "is not JSON")
	}
	return validMemory(c.MemoryMB)
}
