// Package secretsource holds the contract of plugins that read secrets out of a store, and write them if
// they can: what a plugin implements, its gRPC client and server, and the Cache out of which a node takes
// the values of references, so that no request waits for a store that was asked before.
package secretsource

import (
	"context"

	"github.com/conclave-llm/conclave/secret"
)

// Description is what a configured plugin says about itself.
type Description struct {
	Version  string // of the plugin, for display
	SDKMinor uint32 // of the contract which the plugin was built against. The SDK fills it in.
	Writes   bool   // it is a Writer. The SDK fills it in.
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the secret source, unique in the cluster
	Config      []byte // JSON object, the plugin's own; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks
}

// Address says which secret of a store.
type Address struct {
	Path  string // what stands in a reference between "://" and "#"
	Field string // what stands behind "#"; "": the store's usual one
}

// Value is a secret as the store has it now.
type Value struct {
	Text    secret.Text
	Version string // of the secret in the store, for display; "": the store has none
}

// Plugin is what the author of a secret source implements. Configure is called once, before
// anything else; it does not need the store to answer, for a store that is down now may be up
// when a secret is needed. Read is called concurrently, up to 16 at a time.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
	// Read returns the secret at the address. Its error is an *Error, or one of kind Unavailable.
	Read(ctx context.Context, at Address) (Value, error)
}

// Writer is a Plugin that also writes. Its methods are called concurrently, too, and their errors are of
// the same kinds.
type Writer interface {
	// Write puts the text under the path, in the place of what is there, and returns the new version
	// for display, "" if the store has none. Read of the path alone gives the text afterwards.
	Write(ctx context.Context, w Written) (version string, err error)
	// Delete takes what is under the path out of the store; NotFound if nothing is.
	Delete(ctx context.Context, path string) error
}

// Written is a secret that is to be in a store.
type Written struct {
	Path        string
	Text        secret.Text
	Description string // for the people who look into the store
}

// Reason is why a secret could not be read or written.
type Reason string

// The reasons.
const (
	NotFound    Reason = "not_found"   // the store has no such secret or field
	Denied      Reason = "denied"      // the store does not let the plugin do it
	Malformed   Reason = "malformed"   // the path or the field cannot be one of the store's
	Unavailable Reason = "unavailable" // the store cannot be asked now: sealed, down, too late
)

// Error is why a secret could not be read or written. Its text holds no secret.
type Error struct {
	Reason Reason
	Text   string // for people, such as "the path has no field token"
}

// Error implements error.
func (e *Error) Error() string { return e.Text }
