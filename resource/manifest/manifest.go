// Package manifest is what a plugin bundle says about itself: the plugin's name and version, the
// schema of its configuration, and the SHA-256 of its binary for each operating system and
// architecture. The text of a manifest is what a publisher signs, so it is kept as it came, and
// whoever trusts the publisher trusts each binary by its digest.
package manifest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/signing"
)

// Format is the version of manifests that this program writes. Fields are only ever added to
// it; what an older node must not run under the same rules gets the next number.
const Format = 1

// Bounds of a manifest.
const (
	MaxText     = 256 << 10 // bytes
	MaxBinaries = 32
	maxWord     = 128 // bytes of a name or version
	maxBlurb    = 1024
)

// Kinds are the kinds of plugins that a bundle may hold.
var Kinds = []string{"guardrail", "callback", "secret_source", "auth", "router_filter", "provider"}

// Manifest is the content of a manifest.
type Manifest struct {
	Format      int             `json:"format"`
	Name        string          `json:"name"`
	Version     string          `json:"version"` // of the plugin, in its publisher's own scheme
	Kind        string          `json:"kind"`
	Description string          `json:"description,omitempty"` // for people, one or two sentences
	MTLS        *bool           `json:"mtls,omitempty"`        // default true; false: a peer-checked Unix socket
	Schema      json.RawMessage `json:"schema,omitempty"`      // JSON Schema of the plugin's configuration
	Binaries    []Binary        `json:"binaries"`
}

// Binary is the plugin for one platform, in Go's names: linux, amd64. A script that runs
// everywhere is OS "any" and Arch "any".
type Binary struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	SHA256 string `json:"sha256"` // hexadecimal, lower case
	Size   int64  `json:"size"`   // bytes
}

// Any is the OS and the Arch of a binary that runs on every platform.
const Any = "any"

// Platform is "linux/amd64".
func (b Binary) Platform() string { return b.OS + "/" + b.Arch }

// Parse reads the text of a manifest and checks it. Members that this version does not know
// are passed over: they are signed, and a newer node heeds them.
func Parse(text string) (*Manifest, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("manifest has %d bytes, more than %d", len(text), MaxText)
	}
	var m Manifest
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("manifest is not JSON: %w", err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Text writes the manifest, as it is signed and kept.
func (m *Manifest) Text() (string, error) {
	if err := m.Validate(); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	return string(b) + "\n", nil
}

// Validate returns an error that names the member that is wrong.
func (m *Manifest) Validate() error {
	if m.Format != Format {
		return fmt.Errorf("manifest: format %d is not known here, %d is", m.Format, Format)
	}
	for _, w := range []struct{ member, word string }{{"name", m.Name}, {"version", m.Version}} {
		if w.word == "" || len(w.word) > maxWord || strings.ContainsFunc(w.word, unprintable) {
			return fmt.Errorf("manifest: %s %q is not 1 to %d printable letters without spaces", w.member, w.word, maxWord)
		}
	}
	if !slices.Contains(Kinds, m.Kind) {
		return fmt.Errorf("manifest: kind %q is not one of %s", m.Kind, strings.Join(Kinds, ", "))
	}
	if len(m.Description) > maxBlurb {
		return fmt.Errorf("manifest: description has more than %d bytes", maxBlurb)
	}
	if len(m.Schema) > 0 && !json.Valid(m.Schema) {
		return errors.New("manifest: schema is not JSON")
	}
	return m.validBinaries()
}

func (m *Manifest) validBinaries() error {
	if len(m.Binaries) == 0 || len(m.Binaries) > MaxBinaries {
		return fmt.Errorf("manifest: %d binaries, want 1 to %d", len(m.Binaries), MaxBinaries)
	}
	seen := map[string]bool{}
	for i, b := range m.Binaries {
		if raw, err := hex.DecodeString(b.SHA256); err != nil || len(raw) != 32 || strings.ToLower(b.SHA256) != b.SHA256 {
			return fmt.Errorf("manifest: binaries[%d].sha256 %q is not 64 lower-case hexadecimal digits", i, b.SHA256)
		}
		if !plain(b.OS) || !plain(b.Arch) || (b.OS == Any) != (b.Arch == Any) {
			return fmt.Errorf("manifest: binaries[%d]: %q is not a platform such as linux/amd64 or any/any", i, b.Platform())
		}
		if b.Size <= 0 {
			return fmt.Errorf("manifest: binaries[%d].size is %d", i, b.Size)
		}
		if seen[b.Platform()] {
			return fmt.Errorf("manifest: two binaries are for %s", b.Platform())
		}
		seen[b.Platform()] = true
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// plain says whether a word has lower-case letters and digits only.
func plain(w string) bool {
	return w != "" && len(w) <= 16 && !strings.ContainsFunc(w, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// For returns the binary for a platform, in Go's names.
func (m *Manifest) For(os, arch string) (Binary, bool) {
	for _, want := range []string{os + "/" + arch, Any + "/" + Any} {
		for _, b := range m.Binaries {
			if b.Platform() == want {
				return b, true
			}
		}
	}
	return Binary{}, false
}

// Digests lists the digests of the binaries, each once, sorted.
func (m *Manifest) Digests() []string {
	all := make([]string, len(m.Binaries))
	for i, b := range m.Binaries {
		all[i] = b.SHA256
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Trust says which manifests are taken. The zero value takes unsigned ones, and of signed
// ones those whose signature fits, whoever made it.
type Trust struct {
	Publishers signing.Trust // empty: any publisher
	Require    bool          // an unsigned manifest is refused
}

// ErrUnsigned is returned by Trust.Check, beside the errors of package signing.
var ErrUnsigned = errors.New("a signature is required, and there is none")

// Check returns an error if the text is not to be taken with the signature; "" is none. The
// error of a stranger's signature names his fingerprint.
func (t Trust) Check(text, signature string) error {
	if signature == "" {
		if t.Require {
			return ErrUnsigned
		}
		return nil
	}
	s, err := signing.ParseSignature(signature)
	if err != nil {
		return err
	}
	if len(t.Publishers) > 0 {
		return t.Publishers.Verify(s, signing.PluginBundle, strings.NewReader(text))
	}
	if t.Require {
		return fmt.Errorf("%w: %s", signing.ErrUntrusted, s.By().Fingerprint())
	}
	return s.Verify(signing.PluginBundle, strings.NewReader(text))
}

// Publisher is the fingerprint of who signed, "" for nobody.
func Publisher(signature string) string {
	s, err := signing.ParseSignature(signature)
	if err != nil {
		return ""
	}
	return s.By().Fingerprint()
}
