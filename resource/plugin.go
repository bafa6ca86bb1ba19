package resource

import (
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource/manifest"
)

// Plugin is a plugin that is not shipped with Conclave: a bundle that was uploaded, or a binary
// that lies on every node. Either is pinned by SHA-256. Shipped plugins need no record.
type Plugin struct {
	Meta
	Name   string `json:"name,omitempty"`   // unique; not that of a shipped plugin
	Kind   string `json:"kind,omitempty"`   // one of manifest.Kinds
	Path   string `json:"path,omitempty"`   // absolute, on every node; of a plugin that was not uploaded
	SHA256 string `json:"sha256,omitempty"` // hexadecimal, of the binary at Path
	MTLS   *bool  `json:"mtls,omitempty"`   // default true; false: a peer-checked Unix socket

	Manifest  string `json:"manifest,omitempty"`  // of an uploaded bundle, byte by byte as it was signed
	Signature string `json:"signature,omitempty"` // of the manifest; empty: unsigned
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
	if !slices.Contains(manifest.Kinds, p.Kind) {
		return invalidf("kind", "%q is not one of %s", p.Kind, strings.Join(manifest.Kinds, ", "))
	}
	if p.Manifest != "" {
		return p.validBundle()
	}
	if p.Signature != "" {
		return invalidf("signature", "is of a manifest, and there is none")
	}
	if !filepath.IsAbs(p.Path) {
		return invalidf("path", "%q is not absolute", p.Path)
	}
	if b, err := hex.DecodeString(p.SHA256); err != nil || len(b) != 32 {
		return invalidf("sha256", "%q is not 64 hexadecimal digits", p.SHA256)
	}
	return nil
}

// validBundle checks a plugin that was uploaded: the manifest says all but who it is.
func (p *Plugin) validBundle() error {
	if p.Path != "" || p.SHA256 != "" || p.MTLS != nil {
		return invalidf("manifest", "says which binaries there are: path, sha256 and mtls are for a plugin that was not uploaded")
	}
	m, err := manifest.Parse(p.Manifest)
	if err != nil {
		return invalidf("manifest", "%v", err)
	}
	if m.Name != p.Name || m.Kind != p.Kind {
		return invalidf("manifest", "is of the %s %q, not of the %s %q", m.Kind, m.Name, p.Kind, p.Name)
	}
	if err := (manifest.Trust{}).Check(p.Manifest, p.Signature); err != nil {
		return invalidf("signature", "%v", err)
	}
	return nil
}

// Bundle returns the manifest of an uploaded plugin, nil for another.
func (p *Plugin) Bundle() *manifest.Manifest {
	if p == nil || p.Manifest == "" {
		return nil
	}
	m, err := manifest.Parse(p.Manifest)
	if err != nil {
		return nil // a newer node wrote it: there is nothing in it that can be run here
	}
	return m
}

// BlobRef is how the blobs of the plugin's binaries name it.
func (p *Plugin) BlobRef() string { return "plugin/" + p.ID }
