// Package auth holds the contract of plugins that say who requests come from: what a plugin implements,
// its gRPC client and server, and the Gate through which a node asks, which keeps answers for as long as
// the plugin and the configuration allow.
package auth

import (
	"context"
	"time"

	"github.com/conclave-llm/conclave/secret"
)

// Hook is what a plugin is asked about.
type Hook string

// The hooks. One that a plugin does not declare costs nothing.
const (
	HookCredential  Hook = "credential"   // the credential of a request
	HookGenerateKey Hook = "generate_key" // a key that is being made
	HookUpdateKey   Hook = "update_key"   // a key that is being changed
)

// What a plugin may want to be told beside the credential and the configured headers.
const (
	WantMethod  = "method"
	WantPath    = "path"
	WantAddress = "address"
)

// Description is what a configured plugin says about itself.
type Description struct {
	Version string // of the plugin, for display
	Hooks   []Hook // that it wants with its configuration
	// Wants are WantMethod, WantPath and WantAddress. An answer that is kept counts for the same values
	// of these alone.
	Wants    []string
	SDKMinor uint32 // of the contract which the plugin was built against. The SDK fills it in.
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the auth plugin, unique in the cluster
	Config      []byte // JSON object, the plugin's own; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks
}

// Credential is what a request came with.
type Credential struct {
	Secret  secret.Text         // bearer token, or the key in one of the headers of keys; zero: there is none
	Header  map[string][]string // those that the configuration allows, by their canonical names
	Method  string              // if wanted
	Path    string              // if wanted, without the query
	Address string              // of the client, if wanted; "": it cannot be told
}

// Identity says who a request comes from: either a key of the cluster, by its id or the SHA-256 of its
// secret in hexadecimal, or a user, a team, a project of that team and an end user, one of them at least, that
// the cluster has. The other fields go with the second alone, and only ever narrow what the records allow.
type Identity struct {
	KeyID   string
	KeyHash string

	UserID     string
	TeamID     string
	ProjectID  string
	CustomerID string
	Models     []string // names, "prefix*" or access groups; empty: as the records
	RPM        int64    // requests a minute; 0: as the records
	TPM        int64    // tokens a minute
	Parallel   int64    // requests in flight
	Tags       []string // of the request, beside its own
	ExpiresAt  time.Time
}

// Refusal keeps a request out.
type Refusal struct {
	Status  int    // 401 or 403
	Code    string // of the error: "token_revoked"; "": the usual one
	Message string // for the client; it does not repeat the credential
}

// Answer says who a request comes from, or that it must not come in. With neither the plugin leaves the
// credential to others.
type Answer struct {
	Identity *Identity
	Refusal  *Refusal
	CacheFor time.Duration // for which the answer may be used again, in whole seconds; 0: it is not
}

// KeyDraft is a key as it would be written. It holds no secret.
type KeyDraft struct {
	Hook   Hook   // HookGenerateKey or HookUpdateKey
	Key    []byte // JSON, as the admin API shows keys
	Before []byte // the same before the change; nil for a new key
	Actor  string // who makes or changes it: "master" or "key/ID"
}

// KeyVerdict is the answer to a KeyDraft.
type KeyVerdict struct {
	Fill    []byte // JSON object of fields of the key that get other values; nil: none
	Refused string // why the key may not be so, for who makes it; "": it may
}

// Plugin is what the author of an auth plugin implements. Configure is called once, before anything
// else. Authenticate is called concurrently; its error says that the credential could not be checked, and
// lets nobody in.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
	Authenticate(ctx context.Context, c *Credential) (Answer, error)
}

// KeyPlugin is a Plugin that declares HookGenerateKey or HookUpdateKey. Key is called concurrently.
type KeyPlugin interface {
	Plugin
	Key(ctx context.Context, d *KeyDraft) (KeyVerdict, error)
}
