package resource

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Owner says who may write a record: the configuration file or the admin API.
type Owner string

// The owners of a record. The zero value is OwnerAPI.
const (
	OwnerAPI  Owner = ""
	OwnerFile Owner = "file"
)

// Meta is what every record carries. Version is not part of the stored bytes: it is kept
// in the frame around them and filled in on read (the Raft index of the last write).
type Meta struct {
	ID        string `json:"id,omitempty"`
	Owner     Owner  `json:"owner,omitempty"`
	CreatedAt Time   `json:"created_at,omitempty"`
	CreatedBy string `json:"created_by,omitempty"`
	UpdatedAt Time   `json:"updated_at,omitempty"`
	UpdatedBy string `json:"updated_by,omitempty"`
	Version   uint64 `json:"version,omitempty" cbor:"-"`
}

// Head returns the record's Meta; every record gets it by embedding.
func (m *Meta) Head() *Meta { return m }

// Record is what all records have in common.
type Record interface {
	// Head returns the record's own Meta, to read or to fill in.
	Head() *Meta
	// Label is the name that is unique among the records of the kind, "" if it has none.
	Label() string
	// Validate returns an *Invalid for the first wrong field.
	Validate() error
	// Canonicalize fills defaults in and repairs what older versions wrote.
	Canonicalize()
}

// NewID makes a new id with a prefix such as "key": "key_" and 16 random base32 digits.
// Only proposers call it, never Apply.
func NewID(prefix string) string {
	var b [10]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("resource: no randomness: " + err.Error()) // crypto/rand does not fail on a working system
	}
	enc := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])
	return prefix + "_" + strings.ToLower(enc)
}

// Time is nanoseconds since the Unix epoch; 0 is "never" or "not set". It is a number in
// CBOR and RFC 3339 in JSON.
type Time int64

// At makes a Time of a time.Time; the zero time.Time gives 0.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixNano())
}

// Std returns the time.Time in UTC; 0 gives the zero time.Time.
func (t Time) Std() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
}

// MarshalJSON writes RFC 3339, or null for 0.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(t.Std().Format(time.RFC3339Nano))
}

// UnmarshalJSON reads RFC 3339, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("time %q is not RFC 3339", s)
	}
	*t = At(at)
	return nil
}
