package snapfile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/node/backup/archive"
)

// received is a backup whose state lies in a temporary folder.
type received struct {
	*fsm.Backup
	Manifest archive.Manifest
	dir      string
}

// receive reads all of a file and verifies every value.
func receive(path string, tell io.Writer) (_ *received, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	m, err := check(f, nil, tell)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r, err := archive.NewReader(f)
	if err != nil {
		return nil, err
	}
	body, err := r.Snapshot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "conclave-compare-")
	if err != nil {
		return nil, err
	}
	b, err := fsm.ReceiveIn(dir, fsm.Version, body)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &received{Backup: b, Manifest: m, dir: dir}, nil
}

// Close removes what was received.
func (r *received) Close() error { return errors.Join(r.Backup.Close(), os.RemoveAll(r.dir)) }

// Differences lists the records that the second backup has otherwise than the first, without secrets. It needs room for a
// copy of both in the folder for temporary files.
func Differences(first, second string, tell io.Writer) (all []fsm.Difference, err error) {
	a, err := receive(first, tell)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, a.Close()) }()
	b, err := receive(second, tell)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, b.Close()) }()
	all = []fsm.Difference{}
	err = a.Differences(b.Backup, func(d fsm.Difference) error {
		all = append(all, d)
		return nil
	})
	return all, err
}

// Redacted is what may be told of a backup to somebody who may not know whose it is.
type Redacted struct {
	Manifest archive.Manifest `json:"manifest"` // names and ids are replaced by the beginnings of their SHA-256
	Contents []fsm.Count      `json:"contents"`
}

// Redact reads all of a file and tells how much of what it holds: no name, id or secret.
func Redact(path string, tell io.Writer) (_ Redacted, err error) {
	r, err := receive(path, tell)
	if err != nil {
		return Redacted{}, err
	}
	defer func() { err = cmp.Or(err, r.Close()) }()
	m := r.Manifest
	m.Node, m.ClusterID, m.SealKey = short(m.Node), short(m.ClusterID), nil
	counts, err := r.Counts()
	return Redacted{Manifest: m, Contents: counts}, err
}

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:4])
}
