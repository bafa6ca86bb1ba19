// Package bundlefile makes bundles and looks into them, without a node.
package bundlefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/signing"
)

// Keygen makes a secret key in a file that is not there yet, and returns the public one.
func Keygen(path string) (string, error) {
	key, err := signing.Generate()
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(key.Reveal() + "\n")
	return key.Public().String(), errors.Join(err, f.Close())
}

// Create says what goes into a bundle.
type Create struct {
	Version  string
	Key      string   // file of the secret key
	Programs []string // PLATFORM=FILE
	Prices   string   // file; "": none
	Plugins  []string // files that `conclave plugin pack` made
}

// Write writes the bundle, as a whole or not at all.
func (c *Create) Write(path string) (*bundle.Manifest, error) {
	text, err := os.ReadFile(c.Key)
	if err != nil {
		return nil, err
	}
	key, err := signing.ParseSecretKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Key, err)
	}
	sources, err := c.sources()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".bundle-*")
	if err != nil {
		return nil, err
	}
	m, err := bundle.Write(f, c.Version, time.Now(), key, sources)
	if err != nil {
		return nil, errors.Join(err, durable.Discard(f))
	}
	return m, durable.Commit(f, path)
}

func (c *Create) sources() ([]bundle.Source, error) {
	var out []bundle.Source
	for _, text := range c.Programs {
		platform, from, ok := strings.Cut(text, "=")
		if !ok || !bundle.ValidPlatform(platform) {
			return nil, fmt.Errorf("--program %q is not PLATFORM=FILE, such as linux/amd64=bin/conclave", text)
		}
		file := bundle.File{Path: "programs/" + strings.ReplaceAll(platform, "/", "-") + "/conclave", Kind: bundle.KindProgram, Platform: platform}
		out = append(out, bundle.Source{File: file, From: from})
	}
	if c.Prices != "" {
		out = append(out, bundle.Source{File: bundle.File{Path: "prices.json", Kind: bundle.KindPrices}, From: c.Prices})
	}
	for _, from := range c.Plugins {
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		b, err := pack.Read(text)
		if err != nil {
			return nil, fmt.Errorf("--plugin %s: %w: make one with `conclave plugin pack`", from, err)
		}
		name := b.Manifest.Name
		out = append(out, bundle.Source{File: bundle.File{Path: "plugins/" + name + pack.Extension, Kind: bundle.KindPlugin, Name: name}, From: from})
	}
	return out, nil
}

// Content is what is in a bundle.
type Content struct {
	Version     string        `json:"version"`
	Created     time.Time     `json:"created"`
	Bundle      string        `json:"bundle"` // SHA-256 of the manifest
	Signer      string        `json:"signer"`
	Fingerprint string        `json:"fingerprint"` // of the signer
	Files       []bundle.File `json:"files"`
}

func content(b *bundle.Reader, m *bundle.Manifest, by signing.PublicKey) *Content {
	return &Content{
		Version: m.Version, Created: m.Created, Bundle: bundle.Digest(b.Manifest), Signer: by.String(), Fingerprint: by.Fingerprint(), Files: m.Files,
	}
}

// Inspect reads what is before the files.
func Inspect(path string) (*Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := bundle.Open(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m, by, err := b.Inspect()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content(b, m, by), nil
}

// Verify reads the whole bundle, which one of the publishers must have signed.
func Verify(path string, publishers []string) (*Content, error) {
	trust, err := signing.ParseTrust(publishers)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := bundle.Open(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m, by, err := b.Trust(trust)
	if err == nil {
		err = b.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content(b, m, by), nil
}
