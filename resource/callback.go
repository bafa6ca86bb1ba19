package resource

import (
	"encoding/json"
	"slices"
	"strings"
)

// Selection says of which requests a callback is told.
type Selection string

// The selections.
const (
	// SelectAlways is every request, whatever its holders chose. The empty one means it.
	SelectAlways Selection = "always"
	// SelectDefault is every request, but for those whose holders chose a callback of the same
	// plugin, or NoCallbacks.
	SelectDefault Selection = "default"
	// SelectChosen is the requests whose holders chose this callback.
	SelectChosen Selection = "chosen"
)

// NoCallbacks in the list of callbacks of a holder chooses none: only those that are always told
// are told of its requests, and never of what was said.
const NoCallbacks = "none"

// KeyCallback begins the names of callbacks that were made for one key. They end with the last key that chooses them.
const KeyCallback = "key:"

// KeyCallbacks are those of the names that begin with KeyCallback.
func KeyCallbacks(names []string) (own []string) {
	for _, name := range names {
		if strings.HasPrefix(name, KeyCallback) {
			own = append(own, name)
		}
	}
	return own
}

// WithoutCallback stands before the name of a callback, or of a plugin, that a request does without.
const WithoutCallback = "-"

// The statuses of a finished request, as callbacks are told of it.
const (
	StatusSuccess  = "success"
	StatusFailure  = "failure"
	StatusBlocked  = "blocked"
	StatusCanceled = "canceled"
)

// CallbackStatuses are all statuses of a finished request.
var CallbackStatuses = []string{StatusBlocked, StatusCanceled, StatusFailure, StatusSuccess}

// Callback is a plugin that is told of finished requests, at least once and in order.
type Callback struct {
	Meta
	Name   string          `json:"name,omitempty"`   // unique
	Plugin string          `json:"plugin,omitempty"` // name of a shipped or registered plugin
	Config json.RawMessage `json:"config,omitempty"` // the plugin's own
	// Secrets are fields of Config that are secret, by their names: "secret_key", "headers.Authorization".
	Secrets   map[string]*Sealed `json:"secrets,omitempty"`
	Selection Selection          `json:"selection,omitempty"` // empty: always
	Statuses  []string           `json:"statuses,omitempty"`  // empty: all
	// Content says that prompts and answers are told too, of the requests of which the cluster
	// and every holder let them be kept.
	Content    bool        `json:"content,omitempty"`
	Redelivery *Redelivery `json:"redelivery,omitempty"` // the last one that was ordered
	// MemoryMB is the MiB of its process above which it is killed; default 256.
	MemoryMB int64 `json:"memory_mb,omitempty"`
}

// Redelivery orders that a callback is told again, on every node, of the requests that began at From
// or later, as far back as the nodes' journals go.
type Redelivery struct {
	From  Time `json:"from,omitempty"`
	Asked Time `json:"asked,omitempty"` // names it: each is done once
}

// Label implements Record.
func (c *Callback) Label() string { return c.Name }

// Canonicalize implements Record.
func (c *Callback) Canonicalize() {
	slices.Sort(c.Statuses)
	c.Statuses = slices.Compact(c.Statuses)
	if len(c.Statuses) == 0 {
		c.Statuses = nil
	}
	if c.Selection == SelectAlways {
		c.Selection = ""
	}
}

// Validate implements Record.
func (c *Callback) Validate() error {
	if err := validName("name", c.Name); err != nil {
		return err
	}
	if c.Name == NoCallbacks {
		return invalidf("name", "%q means that a holder has no callbacks", c.Name)
	}
	if err := validName("plugin", c.Plugin); err != nil {
		return err
	}
	if len(c.Config) > 0 && !json.Valid(c.Config) {
		return invalidf("config", "is not JSON")
	}
	switch c.Selection {
	case "", SelectAlways, SelectDefault, SelectChosen:
	default:
		return invalidf("selection", "%q is not always, default or chosen", c.Selection)
	}
	for _, s := range c.Statuses {
		if !slices.Contains(CallbackStatuses, s) {
			return invalidf("statuses", "%q is not one of %s", s, strings.Join(CallbackStatuses, ", "))
		}
	}
	if err := validConfigSecrets(c.Config, c.Secrets); err != nil {
		return err
	}
	return validMemory(c.MemoryMB)
}

// Configured is Config with the secrets in their places, which open reads.
func (c *Callback) Configured(open func(field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	return configured(c.Config, c.Secrets, open)
}
