package join

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/conclave-llm/conclave/node/transport"
	"github.com/conclave-llm/conclave/resource"
)

// maxFrame bounds a message.
const maxFrame = 256 << 10

// codeMasterKey names ErrMasterKey on the wire.
const codeMasterKey = "master_key"

// request is what a joiner sends over join/1: JSON behind a u32 length. The connection is
// to a server of the CA that the token pins, so the token's secret goes to the cluster and
// nobody else.
type request struct {
	Member     resource.Member `json:"member"`
	CSR        []byte          `json:"csr"`
	Secret     []byte          `json:"secret"`
	MasterHash resource.Hash   `json:"master_hash"`

	// Standing is the id of a node that asks only whether it was removed; "" asks to join.
	Standing string `json:"standing,omitempty"`

	// Vouched is set by a member that brings the question to the leader: it had the same question, with a good token, while it led
	// itself. What a newcomer says of that does not count.
	Vouched bool `json:"vouched,omitempty"`
}

// answer is what it gets.
type answer struct {
	Code      string           `json:"code,omitempty"` // of an error, see refusal
	Text      string           `json:"text,omitempty"`
	Permanent bool             `json:"permanent,omitempty"`
	ClusterID string           `json:"cluster_id,omitempty"`
	Cert      []byte           `json:"cert,omitempty"`
	CA        []byte           `json:"ca,omitempty"`
	Trusted   [][]byte         `json:"trusted,omitempty"` // other CAs, while one is exchanged
	Sealed    transport.Sealed `json:"sealed"`
	KEK       []byte           `json:"kek,omitempty"`
}

// print identifies a request of one joiner: its key and token.
func (r *request) print() [sha256.Size]byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(r.CSR)))
	b = append(append(b, r.CSR...), r.Secret...)
	return sha256.Sum256(b)
}

// writeJSON writes a u32 length and v.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBlock(w, b)
}

// readJSON reads what writeJSON wrote.
func readJSON(r io.Reader, v any) error {
	b, err := readBlock(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// writeBlock writes a u32 length and b.
func writeBlock(w io.Writer, b []byte) error {
	if len(b) > maxFrame {
		return fmt.Errorf("message of %d bytes is over the limit", len(b))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readBlock reads what writeBlock wrote.
func readBlock(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("message of %d bytes is over the limit", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
