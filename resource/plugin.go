package resource

import (
	"encoding/hex"
	"path/filepath"
)

// Plugin is a binary that is not shipped with Conclave, pinned by its SHA-256. Shipped
// plugins need no record.
type Plugin struct {
	Meta
	Name   string `json:"name,omitempty"`   // unique; not that of a shipped plugin
	Kind   string `json:"kind,omitempty"`   // "guardrail" or "callback"
	Path   string `json:"path,omitempty"`   // absolute, on every node
	SHA256 string `json:"sha256,omitempty"` // hexadecimal
	MTLS   *bool  `json:"mtls,omitempty"`   // default true; false: a peer-checked Unix socket
}

// Label implements Record.
func (p *Plugin) Label() string { return p.Name }

// Canonicalize implements Record.
func (p *Plugin) Canonicalize() {}

// Validate implements Record.
func (p *Plugin) Validate() error {
	if err := validName("name", p.Name); err != nil {
		return err
	}
	if p.Kind != "guardrail" && p.Kind != "callback" {
		return invalidf("kind", "%q is not one of guardrail, callback", p.Kind)
	}
	if !filepath.IsAbs(p.Path) {
		return invalidf("path", "%q is not absolute", p.Path)
	}
	if b, err := hex.DecodeString(p.SHA256); err != nil || len(b) != 32 {
		return invalidf("sha256", "%q is not 64 hexadecimal digits", p.SHA256)
	}
	return nil
}
