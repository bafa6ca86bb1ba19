package resource

import (
	"encoding/hex"
	"slices"
	"strings"
)

// The classes of blobs, which say where their bodies lie.
const (
	// BlobConfiguration is what every node keeps: plugin binaries, tokenizers, templates.
	BlobConfiguration = "configuration"
	// BlobClient is data of clients, which two nodes keep.
	BlobClient = "client"
)

// BlobBundle is the kind of blobs that a bundle of programs was cut into. They are configuration that
// no backup needs: programs are no state.
const BlobBundle = "bundle"

// Bounds of blobs.
const (
	// MaxBlobBytes is the largest body, 64 MiB: it is sealed and checked in memory.
	MaxBlobBytes = 64 << 20
	// MaxBlobRefs is how many references one blob may have.
	MaxBlobRefs = 1024
	maxBlobText = 512
)

// Blob tells of a body that is named by its own digest. The body itself is not in the log.
type Blob struct {
	ID        string   `json:"id"`    // SHA-256 of the body, hexadecimal in lower case
	Class     string   `json:"class"` // BlobConfiguration or BlobClient
	Kind      string   `json:"kind"`  // what it is: "plugin", "tokenizer", "response"
	Owner     string   `json:"owner,omitempty"`
	Name      string   `json:"name,omitempty"` // for people
	Size      int64    `json:"size"`           // of the body in bytes
	ExpiresAt Time     `json:"expires_at,omitempty"`
	CreatedAt Time     `json:"created_at,omitempty"`
	CreatedBy string   `json:"created_by,omitempty"`
	Refs      []string `json:"refs,omitempty"`    // sorted; while there is one the blob stays
	Holders   []string `json:"holders,omitempty"` // ids of nodes that had the body when it was acknowledged
}

// Canonicalize sorts what has no order.
func (b *Blob) Canonicalize() {
	slices.Sort(b.Refs)
	b.Refs = slices.Compact(b.Refs)
	slices.Sort(b.Holders)
	b.Holders = slices.Compact(b.Holders)
}

// Validate returns an *Invalid that says what is wrong.
func (b *Blob) Validate() error {
	switch {
	case !ValidDigest(b.ID):
		return invalidf("id", "%q is not a SHA-256 digest of 64 lower-case hexadecimal digits", b.ID)
	case b.Class != BlobConfiguration && b.Class != BlobClient:
		return invalidf("class", "%q is neither %q nor %q", b.Class, BlobConfiguration, BlobClient)
	case b.Kind == "" || len(b.Kind) > 64 || strings.ContainsFunc(b.Kind, notInKind):
		return invalidf("kind", "%q is not a word of at most 64 lower-case letters, digits and underscores", b.Kind)
	case b.Size < 0 || b.Size > MaxBlobBytes:
		return invalidf("size", "%d bytes are not between 0 and %d", b.Size, MaxBlobBytes)
	case len(b.Owner) > maxBlobText || len(b.Name) > maxBlobText:
		return invalidf("name", "owner and name may have at most %d bytes each", maxBlobText)
	case len(b.Refs) > MaxBlobRefs:
		return invalidf("refs", "%d references are more than %d", len(b.Refs), MaxBlobRefs)
	}
	for _, r := range b.Refs {
		if err := ValidBlobRef(r); err != nil {
			return err
		}
	}
	return nil
}

// ValidBlobRef refuses what cannot be a reference: "plugin/p1".
func ValidBlobRef(ref string) error {
	kind, id, ok := strings.Cut(ref, "/")
	if !ok || kind == "" || id == "" || len(ref) > maxBlobText {
		return invalidf("ref", "%q is not the kind and the id of a record with a slash between", ref)
	}
	return nil
}

func notInKind(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
}

// ValidDigest says whether s is the hexadecimal form of a SHA-256 digest.
func ValidDigest(s string) bool {
	if len(s) != 64 || strings.ToLower(s) != s {
		return false
	}
	_, err := hex.DecodeString(s)
	return err == nil
}
