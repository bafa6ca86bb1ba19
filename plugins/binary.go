package plugins

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conclave-llm/conclave/internal/durable"
)

// maxBinary is the largest plugin binary that is taken.
const maxBinary = 1 << 30

// ErrDigest is returned for a plugin binary that is not the one that was pinned.
var ErrDigest = errors.New("plugin binary does not have the pinned SHA-256")

// binary is an executable whose bytes were verified through the descriptor that is run.
type binary struct {
	file *os.File // open for reading; nil for this binary itself
	path string
	elf  bool // false: a script, which its interpreter opens by path
}

func (b *binary) close() {
	if b.file != nil {
		_ = b.file.Close()
	}
}

// openPinned returns the binary that source gives, if it has the digest. What is run is a copy in
// dir, named by its digest and not writable, that is verified again at each start: what the
// source gives may change between a check and a start. A source is asked only while there is no
// good copy.
func openPinned(dir, digest string, source func() (io.ReadCloser, error)) (*binary, error) {
	want, err := hex.DecodeString(digest)
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%w: %q is no digest", ErrDigest, digest)
	}
	kept := filepath.Join(dir, hex.EncodeToString(want))
	if b, err := verify(kept, want); err == nil {
		return b, nil
	}
	if err := keep(dir, source, kept, want); err != nil {
		return nil, err
	}
	return verify(kept, want)
}

// verify opens the file and checks what it has open.
func verify(path string, want []byte) (*binary, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b := &binary{file: f, path: path}
	sum := sha256.New()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		sum.Write(magic[:n])
		_, err = io.Copy(sum, f)
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if subtle.ConstantTimeCompare(sum.Sum(nil), want) != 1 {
		b.close()
		return nil, fmt.Errorf("%w: %s", ErrDigest, path)
	}
	b.elf = bytes.Equal(magic[:], []byte("\x7fELF"))
	return b, nil
}

// fromFile is the source of a binary that lies at path.
func fromFile(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxBinary {
			return nil, errors.Join(fmt.Errorf("%s is not a file of at most 1 GiB", path), f.Close())
		}
		return f, nil
	}
}

// prune removes copies that no spec names. It is called before anything runs.
func prune(dir string, wanted map[key]*Spec) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // there is nothing yet
	}
	digests := map[string]bool{}
	for _, s := range wanted {
		digests[strings.ToLower(s.SHA256)] = true
	}
	for _, e := range entries {
		if !digests[e.Name()] {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// keep copies what the source gives to kept, if it has the digest.
func keep(dir string, source func() (io.ReadCloser, error), kept string, want []byte) error {
	src, err := source()
	if err != nil {
		return fmt.Errorf("open plugin: %w", err)
	}
	defer func() { _ = src.Close() }()
	tmp, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return fmt.Errorf("keep plugin: %w", err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(src, maxBinary))
	if err = errors.Join(err, tmp.Chmod(0o500)); err != nil {
		return fmt.Errorf("keep plugin: %w", errors.Join(err, durable.Discard(tmp)))
	}
	if subtle.ConstantTimeCompare(sum.Sum(nil), want) != 1 {
		return errors.Join(fmt.Errorf("%w: it has %x", ErrDigest, sum.Sum(nil)), durable.Discard(tmp))
	}
	if err := durable.Commit(tmp, kept); err != nil {
		return fmt.Errorf("keep plugin: %w", err)
	}
	return nil
}

// privateDir makes a folder that only this user may enter, and insists on it.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	if st.Mode().Perm() != 0o700 {
		return os.Chmod(path, 0o700) //nolint:gosec // a folder needs its x
	}
	return nil
}
