package resource

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
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

const (
	idAlphabet   = "0123456789abcdefghijklmnopqrstuv" // in the order of its bytes
	idTimeDigits = 9                                  // milliseconds since 1970
	idDigits     = idTimeDigits + 11                  // of which 55 bits are random
)

// NewID makes a new id with a prefix such as "key": "key_" and 20 base32 digits, of which nine are the
// time. Records that are made together lie together in the state's file, so that ten thousand of
// them change few of its pages. Only proposers call it, never Apply.
func NewID(prefix string) string {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic("resource: no randomness: " + err.Error()) // crypto/rand does not fail on a working system
	}
	id := make([]byte, 0, len(prefix)+1+idDigits)
	id = append(append(id, prefix...), '_')
	now := uint64(time.Now().UnixMilli())
	for i := idTimeDigits - 1; i >= 0; i-- {
		id = append(id, idAlphabet[now>>(5*i)&31])
	}
	for n := binary.BigEndian.Uint64(random[:]); len(id) < cap(id); n >>= 5 {
		id = append(id, idAlphabet[n&31])
	}
	return string(id)
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
	if *t = At(at); !t.Std().Equal(at) {
		return fmt.Errorf("time %q is not between 1678 and 2262", s)
	}
	return nil
}
