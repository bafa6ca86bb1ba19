package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/internal/durable"
	"github.com/conclave-llm/conclave/internal/fault"
	"github.com/conclave-llm/conclave/resource"
)

// Errors of reading a body.
var (
	// ErrAbsent says that the body is not here.
	ErrAbsent = errors.New("blob is not on this node")
	// ErrCorrupt says that what is here does not open, or does not have the digest.
	ErrCorrupt = errors.New("blob is corrupt")
)

// tempMark begins the names of files that are being written.
const tempMark = ".new-"

// Sealer encrypts bodies for the disk.
type Sealer interface {
	// Seal encrypts the body of the digest.
	Seal(body []byte, digest string) ([]byte, error)
	// Open decrypts what Seal made of the body of the digest.
	Open(sealed []byte, digest string) ([]byte, error)
}

// Folder holds the bodies of one node, one file each. A file is there whole or not at all,
// whenever the process or the machine ends. Several goroutines may use it.
type Folder struct {
	dir    string
	sealer Sealer
	mu     sync.Mutex // held while a file takes another's place, or is found corrupt and removed
}

// OpenFolder makes the folder if it is not there and removes what a crash left half written.
func OpenFolder(dir string, sealer Sealer) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of blobs: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read folder of blobs: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempMark) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("remove unfinished blob: %w", err)
			}
		}
	}
	return &Folder{dir: dir, sealer: sealer}, nil
}

// Digest names a body.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// path is where the body lies; a digest that is none has no path.
func (f *Folder) path(digest string) (string, error) {
	if !resource.ValidDigest(digest) {
		return "", &resource.Invalid{Field: "id", Reason: fmt.Sprintf("%q is not a SHA-256 digest of 64 lower-case hexadecimal digits", digest)}
	}
	return filepath.Join(f.dir, digest), nil
}

// Write stores a body, and returns its digest when it survives a crash. A body that is there
// is written again, for the file may be damaged.
func (f *Folder) Write(body []byte) (string, error) {
	digest := Digest(body)
	sealed, err := f.sealer.Seal(body, digest)
	if err != nil {
		return "", fmt.Errorf("seal blob %s: %w", digest, err)
	}
	if err := f.replace(digest, sealed); err != nil {
		return "", fmt.Errorf("write blob %s: %w", digest, err)
	}
	return digest, nil
}

// replace writes a file beside the old one, syncs it and puts it in its place.
func (f *Folder) replace(digest string, sealed []byte) error {
	temp, err := os.CreateTemp(f.dir, tempMark+"*") // 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(sealed)
	if err = errors.Join(err, temp.Sync()); err != nil { // before others wait
		return errors.Join(err, durable.Discard(temp))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return durable.Commit(temp, filepath.Join(f.dir, digest), fault.BlobRename)
}

// Sealed returns the file of the digest as it is, once it has been found to give the body.
func (f *Folder) Sealed(digest string) ([]byte, error) {
	if _, err := f.Read(digest); err != nil {
		return nil, err
	}
	path, err := f.path(digest)
	if err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	}
	return sealed, nil
}

// Keep stores what Sealed has returned, on this node or another. It cannot be checked before the data
// key is here that it is sealed under.
func (f *Folder) Keep(digest string, sealed []byte) error {
	if _, err := f.path(digest); err != nil {
		return err
	}
	if err := f.replace(digest, sealed); err != nil {
		return fmt.Errorf("write blob %s: %w", digest, err)
	}
	return nil
}

// Read returns the body of the digest. A file that does not give it is removed: ErrCorrupt.
func (f *Folder) Read(digest string) ([]byte, error) {
	body, err := f.read(digest)
	if !errors.Is(err, ErrCorrupt) {
		return body, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if body, err = f.read(digest); !errors.Is(err, ErrCorrupt) {
		return body, err // a good one has taken its place
	}
	return nil, errors.Join(err, f.Remove(digest))
}

func (f *Folder) read(digest string) ([]byte, error) {
	path, err := f.path(digest)
	if err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	}
	body, err := f.sealer.Open(sealed, digest)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", digest, err) // without the key the file may be good
	}
	if Digest(body) != digest {
		return nil, fmt.Errorf("read blob %s: %w", digest, ErrCorrupt)
	}
	return body, nil
}

// Has says whether there is a file, whatever is in it.
func (f *Folder) Has(digest string) bool {
	path, err := f.path(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

// Remove deletes the body, if it is there.
func (f *Folder) Remove(digest string) error {
	path, err := f.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob %s: %w", digest, err)
	}
	return nil
}

// Before lists the digests of files that were written before the time.
func (f *Folder) Before(t time.Time) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("read folder of blobs: %w", err)
	}
	var old []string
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && resource.ValidDigest(e.Name()) && info.ModTime().Before(t) {
			old = append(old, e.Name())
		}
	}
	return old, nil
}
