// Package pack is the file in which a plugin travels: one version of it, its binary for each
// platform, and a manifest that names each binary by its SHA-256 and may be signed.
//
// A bundle is a gzip-compressed tar archive, in this order: manifest.json (package
// resource/manifest), manifest.sig (package signing; absent if it is not signed), and
// bin/SHA256 for each digest of the manifest. The same input gives the same bytes.
package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

// Extension is how the name of a bundle ends.
const Extension = ".cpb"

// Bounds of what is read.
const (
	MaxBundle = 128 << 20 // bytes of the file
	maxBody   = resource.MaxBlobBytes
	maxBodies = 512 << 20 // bytes of all binaries together
)

const (
	manifestName  = "manifest.json"
	signatureName = "manifest.sig"
	binPrefix     = "bin/"
)

// ErrBundle is wrapped by every error about a file that is not a whole bundle.
var ErrBundle = errors.New("is not a plugin bundle")

// Binary is one body with its platform.
type Binary struct {
	OS, Arch string
	Body     []byte
}

// Bundle is one version of a plugin.
type Bundle struct {
	Manifest  *manifest.Manifest
	Text      string            // the manifest, byte by byte as it was signed
	Signature string            // "": unsigned
	Bodies    map[string][]byte // by digest
}

// New makes a bundle of the binaries. m says all but Format and Binaries; key may be nil, for
// a bundle that is not signed.
func New(m manifest.Manifest, binaries []Binary, key *signing.SecretKey) (*Bundle, error) {
	b := &Bundle{Manifest: &m, Bodies: make(map[string][]byte, len(binaries))}
	m.Format, m.Binaries = manifest.Format, nil
	for _, bin := range binaries {
		if len(bin.Body) > maxBody {
			return nil, fmt.Errorf("binary for %s/%s has %d bytes, more than %d", bin.OS, bin.Arch, len(bin.Body), maxBody)
		}
		digest := digestOf(bin.Body)
		b.Bodies[digest] = bin.Body
		m.Binaries = append(m.Binaries, manifest.Binary{OS: bin.OS, Arch: bin.Arch, SHA256: digest, Size: int64(len(bin.Body))})
	}
	var err error
	if b.Text, err = m.Text(); err != nil {
		return nil, err
	}
	if key == nil {
		return b, nil
	}
	s, err := key.Sign(signing.PluginBundle, strings.NewReader(b.Text))
	if err != nil {
		return nil, err
	}
	b.Signature = s.String()
	return b, nil
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Write writes the file.
func (b *Bundle) Write(to io.Writer) error {
	z := gzip.NewWriter(to)
	t := tar.NewWriter(z)
	add := func(name string, mode int64, body []byte) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(body)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := t.Write(body)
		return err
	}
	err := add(manifestName, 0o644, []byte(b.Text))
	if err == nil && b.Signature != "" {
		err = add(signatureName, 0o644, []byte(b.Signature+"\n"))
	}
	for _, digest := range b.Manifest.Digests() {
		if err == nil {
			err = add(binPrefix+digest, 0o755, b.Bodies[digest])
		}
	}
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// Read reads a bundle and checks that it holds each binary that its manifest names, whole, and
// nothing else. Who signed it, and whether he did, is for the reader to ask (manifest.Trust).
func Read(file []byte) (*Bundle, error) {
	if len(file) > MaxBundle {
		return nil, fmt.Errorf("file of %d bytes, more than %d: %w", len(file), MaxBundle, ErrBundle)
	}
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("file %w: %w", ErrBundle, err)
	}
	r := &reader{tar: tar.NewReader(z), left: maxBodies}
	text, err := r.next(manifestName, manifest.MaxText)
	if err != nil {
		return nil, err
	}
	b := &Bundle{Text: string(text), Bodies: map[string][]byte{}}
	if b.Manifest, err = manifest.Parse(b.Text); err != nil {
		return nil, fmt.Errorf("file %w: %w", ErrBundle, err)
	}
	if signature, err := r.next(signatureName, 1024); err == nil {
		b.Signature = strings.TrimSpace(string(signature))
	} else if !errors.Is(err, errOther) {
		return nil, err
	}
	if err := b.readBodies(r); err != nil {
		return nil, err
	}
	if name, err := r.peek(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("file holds %q, which its manifest does not name: %w", name, errors.Join(ErrBundle, err))
	}
	return b, nil
}

// readBodies reads the binaries that the manifest names.
func (b *Bundle) readBodies(r *reader) error {
	sizes := map[string]int64{}
	for _, bin := range b.Manifest.Binaries {
		sizes[bin.SHA256] = bin.Size
	}
	for _, digest := range b.Manifest.Digests() {
		body, err := r.next(binPrefix+digest, maxBody)
		if err != nil {
			return err
		}
		if int64(len(body)) != sizes[digest] || digestOf(body) != digest {
			return fmt.Errorf("binary %s is damaged: %w", digest, ErrBundle)
		}
		b.Bodies[digest] = body
	}
	return nil
}

// errOther says that the next entry of an archive has another name.
var errOther = errors.New("another entry")

// reader reads entries in their order.
type reader struct {
	tar    *tar.Reader
	header *tar.Header // of the entry that was looked at and not read
	left   int64       // bytes that may still be read
}

// peek is the name of the next entry; io.EOF behind the last.
func (r *reader) peek() (string, error) {
	if r.header == nil {
		h, err := r.tar.Next()
		if err != nil {
			return "", err
		}
		r.header = h
	}
	return r.header.Name, nil
}

// next reads the next entry, which must have the name and at most so many bytes.
func (r *reader) next(name string, limit int64) ([]byte, error) {
	got, err := r.peek()
	if err != nil {
		return nil, fmt.Errorf("read %s of the bundle: %w: %w", name, ErrBundle, err)
	}
	if got != name {
		return nil, fmt.Errorf("%q stands where %s should: %w: %w", got, name, errOther, ErrBundle)
	}
	if r.header.Typeflag != tar.TypeReg || r.header.Size > min(limit, r.left) {
		return nil, fmt.Errorf("%s of %d bytes is no file, or too large: %w", name, r.header.Size, ErrBundle)
	}
	r.left -= r.header.Size
	r.header = nil
	body, err := io.ReadAll(io.LimitReader(r.tar, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s of the bundle: %w: %w", name, ErrBundle, err)
	}
	return body, nil
}
