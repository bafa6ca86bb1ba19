package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/conclave-llm/conclave/signing"
)

// Source is a file that goes into a bundle. Size and SHA256 of File are found out.
type Source struct {
	File
	From string // on this machine
}

// Write writes a bundle of the sources, signed by the key.
func Write(w io.Writer, version string, created time.Time, key signing.SecretKey, sources []Source) (*Manifest, error) {
	m := &Manifest{Format: Format, Version: version, Created: created.UTC().Truncate(time.Second)}
	for _, s := range sources {
		var err error
		if s.Size, s.SHA256, err = measure(s.From); err != nil {
			return nil, err
		}
		m.Files = append(m.Files, s.File)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	sig, err := key.Sign(signing.ProductBundle, bytes.NewReader(manifest))
	if err != nil {
		return nil, err
	}
	out := tar.NewWriter(w)
	for _, head := range []struct {
		name string
		body []byte
	}{{manifestName, manifest}, {signatureName, []byte(sig.String() + "\n")}} {
		if err := entry(out, head.name, int64(len(head.body)), bytes.NewReader(head.body)); err != nil {
			return nil, err
		}
	}
	for i, s := range sources {
		if err := fileEntry(out, &m.Files[i], s.From); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	return m, nil
}

func fileEntry(out *tar.Writer, f *File, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	return entry(out, f.Path, f.Size, &checked{r: in, f: *f, h: sha256.New()})
}

// entry writes one entry; owner and time are the same in every bundle.
func entry(out *tar.Writer, name string, size int64, body io.Reader) error {
	h := &tar.Header{Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := io.Copy(out, body); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// measure reads a file for its size and digest.
func measure(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return 0, "", fmt.Errorf("read %s: %w", path, err)
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}
