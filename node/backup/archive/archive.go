// Package archive is the file of a backup: what it is of, a snapshot of the state, the bodies of blobs
// that the state alone does not have, and a seal under which nobody changes it who does not have the cluster's KEK. docs/formats.md has the layout.
package archive

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

const (
	magic       = "CNCLBAK1"
	formatPlain = 1 // without bodies of blobs
	formatBlobs = 2
	maxManifest = 1 << 20
	headSize    = len(magic) + 4 + 4
	maxBody     = resource.MaxBlobBytes + 1<<10 // with what its seal adds
	purpose     = "backup"                      // for which the KEK wraps the key of the seal
)

var (
	// ErrDamaged says that a file is not a backup, or not as it was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrKEK says that a file was sealed under another KEK.
	ErrKEK = errors.New("the backup was made under another KEK")
)

// Keeper wraps small keys under the KEK. *secret.KEK implements it.
type Keeper interface {
	// ID names the KEK.
	ID() string
	// Wrap seals a key for a purpose.
	Wrap(plain []byte, purpose string) ([]byte, error)
	// Unwrap opens what was wrapped for the same purpose.
	Unwrap(box []byte, purpose string) ([]byte, error)
}

// Manifest tells what a backup is of.
type Manifest struct {
	Format     int           `json:"format"`
	TakenAt    resource.Time `json:"taken_at"`
	Node       string        `json:"node"`    // name of the node that made it
	Version    string        `json:"version"` // of its program
	ClusterID  string        `json:"cluster_id"`
	Generation uint64        `json:"generation"`
	Index      uint64        `json:"index"` // of the last entry in it
	Term       uint64        `json:"term"`
	FSMVersion uint32        `json:"fsm_version"`
	StateHash  string        `json:"state_hash"`
	Size       uint64        `json:"size"`   // of the snapshot's body in bytes
	SHA256     string        `json:"sha256"` // of the body
	KEKID      string        `json:"kek_id"` // under which its data keys are wrapped, and the key of its seal
	DataKeys   []DataKey     `json:"data_keys"`
	SealKey    []byte        `json:"seal_key"` // wrapped under the KEK
	// Blobs are the bodies that follow the snapshot, in their order.
	Blobs []Body `json:"blobs,omitempty"`
}

// Body is a blob's body, sealed under a data key as a node's disk has it.
type Body struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // sealed
}

// DataKey names a data key that the state has, wrapped.
type DataKey struct {
	ID    string `json:"id"`
	KEKID string `json:"kek_id"`
}

// fill copies what the snapshot's header says.
func (m *Manifest) fill(h *fsm.Header) {
	m.Format, m.ClusterID, m.Generation, m.Index, m.Term = formatPlain, h.ClusterID, h.Generation, h.Index, h.Term
	m.FSMVersion, m.Size = h.FSMVersion, h.Size
	if len(m.Blobs) > 0 {
		m.Format = formatBlobs
	}
	m.StateHash, m.SHA256 = hex.EncodeToString(h.StateHash[:]), hex.EncodeToString(h.SHA256[:])
}

// fileSize is how long the whole file is; head is the length of the manifest.
func (m *Manifest) fileSize(head int) int64 {
	return int64(headSize+head+fsm.HeaderSize) + int64(m.Size) + m.bodies() + sha256.Size
}

// bodies is how long all bodies of blobs are.
func (m *Manifest) bodies() (n int64) {
	for _, b := range m.Blobs {
		n += b.Size
	}
	return n
}

// sound refuses sizes that no backup has.
func (m *Manifest) sound() bool {
	for _, b := range m.Blobs {
		if b.Size < 0 || b.Size > maxBody || !resource.ValidDigest(b.Digest) {
			return false
		}
	}
	return m.Size <= 1<<60 && (len(m.Blobs) > 0) == (m.Format == formatBlobs)
}

// Writer makes a backup of the snapshot that is written to it: raft's sink of one, in effect.
type Writer struct {
	w        io.Writer
	manifest Manifest
	keeper   Keeper
	mac      hash.Hash
	head     []byte // of the snapshot, until its header is whole
	written  uint64 // bytes of the snapshot
	bodies   int    // written
	size     int64
}

// NewWriter begins a backup. Of the manifest it takes what the snapshot does not tell.
func NewWriter(w io.Writer, about Manifest, keeper Keeper) *Writer {
	return &Writer{w: w, manifest: about, keeper: keeper}
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	n := len(b)
	if w.mac == nil {
		taken := min(fsm.HeaderSize-len(w.head), len(b))
		w.head = append(w.head, b[:taken]...)
		b = b[taken:]
		if len(w.head) < fsm.HeaderSize {
			return n, nil
		}
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	return n, w.put(b)
}

// begin writes the manifest, now that the snapshot's header is known.
func (w *Writer) begin() error {
	h, err := fsm.DecodeHeader(w.head)
	if err != nil {
		return err
	}
	w.manifest.fill(&h)
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make the key of the seal: %w", err)
	}
	if w.manifest.SealKey, err = w.keeper.Wrap(key, purpose); err != nil {
		return fmt.Errorf("wrap the key of the seal: %w", err)
	}
	w.manifest.KEKID = w.keeper.ID()
	text, err := json.Marshal(w.manifest)
	if err != nil {
		return err
	}
	w.mac = hmac.New(sha256.New, key)
	out := binary.BigEndian.AppendUint32([]byte(magic), uint32(w.manifest.Format))
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(text))), text...)
	w.size = w.manifest.fileSize(len(text))
	if err := w.put(out); err != nil {
		return err
	}
	w.written = 0
	return w.put(w.head)
}

func (w *Writer) put(b []byte) error {
	_, _ = w.mac.Write(b) // a hash takes everything
	w.written += uint64(len(b))
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// WriteBody writes the next body of those that the manifest names, once the snapshot is written.
func (w *Writer) WriteBody(sealed []byte) error {
	if !w.whole() || w.bodies == len(w.manifest.Blobs) || int64(len(sealed)) != w.manifest.Blobs[w.bodies].Size {
		return fmt.Errorf("write backup: a body of %d bytes has no place here: %w", len(sealed), ErrDamaged)
	}
	if err := w.put(sealed); err != nil {
		return err
	}
	w.bodies++
	return nil
}

// whole says whether the snapshot was written to its end.
func (w *Writer) whole() bool {
	var bodies uint64
	for _, b := range w.manifest.Blobs[:w.bodies] {
		bodies += uint64(b.Size)
	}
	return w.mac != nil && w.written == fsm.HeaderSize+w.manifest.Size+bodies
}

// Seal writes the seal, once all bodies are written.
func (w *Writer) Seal() error {
	if !w.whole() || w.bodies < len(w.manifest.Blobs) {
		return fmt.Errorf("write backup: it is not whole: %w", ErrDamaged)
	}
	if _, err := w.w.Write(w.mac.Sum(nil)); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// Close implements io.Closer for a snapshot's sink: the snapshot is whole, or it is refused. Seal ends
// the backup.
func (w *Writer) Close() error {
	if !w.whole() {
		return fmt.Errorf("write backup: the snapshot is not whole: %w", ErrDamaged)
	}
	return nil
}

// Manifest is what was written, and the length of the whole file.
func (w *Writer) Manifest() (Manifest, int64) { return w.manifest, w.size }

// Reader reads a backup from its beginning to its end.
type Reader struct {
	r        io.Reader
	Manifest Manifest
	Size     int64 // of the whole file, as the manifest has it

	prefix []byte // what stands before the snapshot
	mac    hash.Hash
	body   io.Reader
	bodies int // that were read
}

// NewReader reads the manifest.
func NewReader(r io.Reader) (*Reader, error) {
	head := make([]byte, headSize)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(magic)]) != magic {
		return nil, broken(err, "it does not begin as one")
	}
	f := binary.BigEndian.Uint32(head[len(magic):])
	if f < formatPlain || f > formatBlobs {
		return nil, fmt.Errorf("%w: its format is %d, this program reads %d to %d", ErrDamaged, f, formatPlain, formatBlobs)
	}
	n := binary.BigEndian.Uint32(head[len(magic)+4:])
	if n > maxManifest {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", ErrDamaged, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, broken(err, "it ends within its manifest")
	}
	out := &Reader{r: r, prefix: append(head, text...)}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&out.Manifest); err != nil || dec.More() || !out.Manifest.sound() || out.Manifest.Format != int(f) {
		return nil, fmt.Errorf("%w: its manifest cannot be read", ErrDamaged)
	}
	out.Size = out.Manifest.fileSize(int(n))
	return out, nil
}

// broken is ErrDamaged, or an I/O error as it is.
func broken(err error, what string) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	return fmt.Errorf("read backup: %w", err)
}

// Open makes the reader check the seal, for which it needs the KEK under which the backup was made.
func (r *Reader) Open(keeper Keeper) error {
	if id := keeper.ID(); id != r.Manifest.KEKID {
		return fmt.Errorf("%w: %s, and this one is %s", ErrKEK, r.Manifest.KEKID, id)
	}
	key, err := keeper.Unwrap(r.Manifest.SealKey, purpose)
	if err != nil {
		return fmt.Errorf("%w: the key of its seal does not open: %w", ErrDamaged, err)
	}
	r.mac = hmac.New(sha256.New, key)
	_, _ = r.mac.Write(r.prefix)
	return nil
}

// Snapshot is the snapshot, its header first. After its end Verify tells whether it was the one that
// was written.
func (r *Reader) Snapshot() (io.Reader, error) {
	head := make([]byte, fsm.HeaderSize)
	if _, err := io.ReadFull(r.r, head); err != nil {
		return nil, broken(err, "it ends within the header of its snapshot")
	}
	h, err := fsm.DecodeHeader(head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	want := r.Manifest
	want.fill(&h)
	if want.StateHash != r.Manifest.StateHash || want.SHA256 != r.Manifest.SHA256 || want.Size != r.Manifest.Size ||
		want.Index != r.Manifest.Index || want.ClusterID != r.Manifest.ClusterID || want.Generation != r.Manifest.Generation {
		return nil, fmt.Errorf("%w: its manifest and its snapshot tell of different states", ErrDamaged)
	}
	body := io.LimitReader(r.r, int64(h.Size))
	if r.mac != nil {
		_, _ = r.mac.Write(head)
		body = io.TeeReader(body, r.mac)
	}
	r.body = body
	return io.MultiReader(bytes.NewReader(head), body), nil
}

// Bodies gives the bodies of blobs one after the other, each in memory, after the snapshot. They may
// be used once Verify has said that they are what was written.
func (r *Reader) Bodies(each func(b Body, sealed []byte) error) error {
	if _, err := io.Copy(io.Discard, r.body); err != nil {
		return broken(err, "it ends within its snapshot")
	}
	for ; r.bodies < len(r.Manifest.Blobs); r.bodies++ {
		b := r.Manifest.Blobs[r.bodies]
		sealed := make([]byte, b.Size)
		if _, err := io.ReadFull(r.r, sealed); err != nil {
			return broken(err, "it ends within the body of a blob")
		}
		if r.mac != nil {
			_, _ = r.mac.Write(sealed)
		}
		if err := each(b, sealed); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads what is left and checks the seal, if Open was called, and that nothing follows it.
func (r *Reader) Verify() error {
	if err := r.Bodies(func(Body, []byte) error { return nil }); err != nil {
		return err
	}
	rest, err := io.ReadAll(io.LimitReader(r.r, sha256.Size+1))
	if err != nil {
		return broken(err, "it ends within its seal")
	}
	if len(rest) != sha256.Size {
		return fmt.Errorf("%w: it does not end with its seal", ErrDamaged)
	}
	if r.mac != nil && !hmac.Equal(rest, r.mac.Sum(nil)) {
		return fmt.Errorf("%w: its seal is broken: somebody changed it", ErrDamaged)
	}
	return nil
}
