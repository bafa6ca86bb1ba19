// Package bundle is the file that brings a new Conclave to a cluster without a network: the
// programs of all platforms, prices and plugins, under one signature.
//
// It is a tar archive whose first two entries are bundle.json, the manifest, and bundle.sig, the
// signature of the manifest's bytes. The files follow in the manifest's order, each with the size
// and the SHA-256 that the manifest says. Nothing else is in it.
package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/signing"
)

// Format is the version of the file's format.
const Format = 1

// The entries before the files, and their bounds.
const (
	manifestName  = "bundle.json"
	signatureName = "bundle.sig"
	MaxManifest   = 64 << 10
	maxSignature  = 1 << 10
	maxFiles      = 64
	maxFile       = 1 << 30
)

// The kinds of files.
const (
	KindProgram = "program" // conclave itself, for one platform
	KindPrices  = "prices"  // list prices, as `conclave price import` reads them
	KindPlugin  = "plugin"  // a plugin's own bundle (package plugins/pack)
)

// ErrBundle says that a file is not a bundle, is damaged, or is not as its manifest says.
var ErrBundle = errors.New("is not a good bundle")

// Manifest says what is in a bundle.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program
	Created time.Time `json:"created"`
	Files   []File    `json:"files"`
}

// File is one file of a bundle.
type File struct {
	Path     string `json:"path"` // in the archive, with slashes
	Kind     string `json:"kind"`
	Platform string `json:"platform,omitempty"` // of a program: "linux/amd64"
	Name     string `json:"name,omitempty"`     // of a plugin
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"` // hexadecimal in lower case
}

// ParseManifest reads and checks a manifest.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("the manifest %w: it has more than %d bytes", ErrBundle, MaxManifest)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("the manifest %w: %w", ErrBundle, err)
	}
	if d.More() {
		return nil, fmt.Errorf("the manifest %w: there is more behind it", ErrBundle)
	}
	return m, m.check()
}

func (m *Manifest) check() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("the manifest %w: its format is %d, and this program knows %d", ErrBundle, m.Format, Format)
	case m.Version == "" || len(m.Version) > 128 || strings.ContainsFunc(m.Version, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("the manifest %w: a version has 1 to 128 bytes and no spaces", ErrBundle)
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return fmt.Errorf("the manifest %w: a bundle has 1 to %d files", ErrBundle, maxFiles)
	}
	seen := map[string]bool{}
	for i := range m.Files {
		f := &m.Files[i]
		if err := f.check(); err != nil {
			return err
		}
		for _, key := range []string{f.Path, f.Kind + " " + f.Platform + f.Name} {
			if seen[key] {
				return fmt.Errorf("the manifest %w: %s is there twice", ErrBundle, key)
			}
			seen[key] = true
		}
	}
	return nil
}

func (f *File) check() error {
	bad := func(why string) error { return fmt.Errorf("the manifest %w: file %q: %s", ErrBundle, f.Path, why) }
	sum, err := hex.DecodeString(f.SHA256)
	switch {
	case !cleanPath(f.Path):
		return bad("its path is not a short, clean, relative one")
	case err != nil || len(sum) != sha256.Size || strings.ToLower(f.SHA256) != f.SHA256:
		return bad("sha256 is not 64 hexadecimal digits")
	case f.Size <= 0 || f.Size > maxFile:
		return bad(fmt.Sprintf("its size is not between 1 and %d bytes", maxFile))
	}
	switch f.Kind {
	case KindProgram:
		if !ValidPlatform(f.Platform) {
			return bad("a program has a platform such as linux/amd64")
		}
	case KindPlugin:
		if f.Name == "" {
			return bad("a plugin has a name")
		}
	case KindPrices:
	default:
		return bad(fmt.Sprintf("its kind is %q, which this program does not know", f.Kind))
	}
	return nil
}

// cleanPath says whether a path may be that of a file in a bundle.
func cleanPath(p string) bool {
	return p != "" && len(p) < 100 && path.Clean(p) == p && p[0] != '/' && !strings.HasPrefix(p, "..") && p != manifestName && p != signatureName
}

// ValidPlatform says whether a text is an operating system and an architecture, as Go names
// them, with a slash between.
func ValidPlatform(s string) bool {
	goos, arch, ok := strings.Cut(s, "/")
	return ok && goos != "" && arch != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '/' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) && strings.Count(s, "/") == 1
}

// Program finds the program of a platform.
func (m *Manifest) Program(platform string) (File, bool) {
	for _, f := range m.Files {
		if f.Kind == KindProgram && f.Platform == platform {
			return f, true
		}
	}
	return File{}, false
}

// Digest is the SHA-256 of a manifest's bytes: the name of the bundle.
func Digest(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return hex.EncodeToString(sum[:])
}

// Verify reads a manifest whose signature is of one of the publishers.
func Verify(trust signing.Trust, manifest []byte, signature string) (*Manifest, signing.PublicKey, error) {
	s, err := signing.ParseSignature(signature)
	if err != nil {
		return nil, signing.PublicKey{}, fmt.Errorf("the bundle's %w", err)
	}
	if err := trust.Verify(s, signing.ProductBundle, bytes.NewReader(manifest)); err != nil {
		return nil, s.By(), err
	}
	m, err := ParseManifest(manifest)
	return m, s.By(), err
}

// Reader reads a bundle from its beginning to its end.
type Reader struct {
	Manifest  []byte // as it was signed
	Signature string

	tar  *tar.Reader
	left []File // that are still to come; nil until Trust
}

// Open reads what is before the files. Nothing is believed before Trust.
func Open(r io.Reader) (*Reader, error) {
	b := &Reader{tar: tar.NewReader(r)}
	var err error
	if b.Manifest, err = b.head(manifestName, MaxManifest); err != nil {
		return nil, err
	}
	sig, err := b.head(signatureName, maxSignature)
	b.Signature = strings.TrimSpace(string(sig))
	return b, err
}

func (b *Reader) head(name string, most int64) ([]byte, error) {
	h, err := b.tar.Next()
	if err != nil {
		return nil, fmt.Errorf("the file %w: %w", ErrBundle, err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg || h.Size > most {
		return nil, fmt.Errorf("the file %w: %q stands where %s of at most %d bytes should", ErrBundle, h.Name, name, most)
	}
	body, err := io.ReadAll(io.LimitReader(b.tar, most+1))
	if err != nil {
		return nil, fmt.Errorf("the file %w: %s: %w", ErrBundle, name, err)
	}
	return body, nil
}

// Trust checks the signature, and then reads the manifest.
func (b *Reader) Trust(trust signing.Trust) (*Manifest, signing.PublicKey, error) {
	m, by, err := Verify(trust, b.Manifest, b.Signature)
	if err == nil {
		b.left = m.Files
	}
	return m, by, err
}

// Inspect reads the manifest whoever signed it, and says who claims to have.
func (b *Reader) Inspect() (*Manifest, signing.PublicKey, error) {
	s, err := signing.ParseSignature(b.Signature)
	if err != nil {
		return nil, signing.PublicKey{}, fmt.Errorf("the bundle's %w", err)
	}
	m, err := ParseManifest(b.Manifest)
	if err == nil {
		b.left = m.Files
	}
	return m, s.By(), err
}

// Next gives the next file, whose body ends with an error if it is not what the manifest says;
// io.EOF after the last one, when nothing is behind it.
func (b *Reader) Next() (File, io.Reader, error) {
	h, err := b.tar.Next()
	switch {
	case errors.Is(err, io.EOF) && len(b.left) == 0:
		return File{}, nil, io.EOF
	case errors.Is(err, io.EOF):
		return File{}, nil, fmt.Errorf("the file %w: it ends before %s", ErrBundle, b.left[0].Path)
	case err != nil:
		return File{}, nil, fmt.Errorf("the file %w: %w", ErrBundle, err)
	case len(b.left) == 0 || h.Name != b.left[0].Path || h.Size != b.left[0].Size || h.Typeflag != tar.TypeReg:
		return File{}, nil, fmt.Errorf("the file %w: %q is not what its manifest names next", ErrBundle, h.Name)
	}
	f := b.left[0]
	b.left = b.left[1:]
	return f, &checked{r: b.tar, f: f, h: sha256.New()}, nil
}

// Check reads all files to the end.
func (b *Reader) Check() error {
	for {
		_, body, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}

// checked is a body that is hashed while it is read.
type checked struct {
	r io.Reader
	f File
	h hash.Hash
	n int64
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	_, _ = c.h.Write(p[:n]) // a hash takes everything
	switch {
	case errors.Is(err, io.EOF) && (c.n != c.f.Size || hex.EncodeToString(c.h.Sum(nil)) != c.f.SHA256):
		return n, fmt.Errorf("the file %w: %s is not what its manifest says", ErrBundle, c.f.Path)
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("the file %w: %s: %w", ErrBundle, c.f.Path, err)
	}
	return n, err
}
