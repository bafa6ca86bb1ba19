package memory

import (
	"encoding/binary"
	"fmt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

// JoinToken is a token that was not used yet.
type JoinToken struct {
	Hash     resource.Hash `json:"-"` // of its secret part
	Expires  resource.Time `json:"-"`
	Created  resource.Time `json:"created,omitempty"`
	By       string        `json:"by,omitempty"`       // who made it
	Replaces string        `json:"replaces,omitempty"` // id of the member that its use removes
}

// Encode gives the stored form: the expiry in eight bytes and, if there is more to say, a
// CBOR map behind them.
func (t JoinToken) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Expires))
	if t.Created == 0 && t.By == "" && t.Replaces == "" {
		return b
	}
	more, err := codec.Marshal(t)
	if err != nil {
		panic("join token: " + err.Error()) // numbers and strings only
	}
	return append(b, more...)
}

// ParseJoinToken reads what Encode wrote. Its errors wrap frame.ErrDamaged.
func ParseJoinToken(b []byte) (t JoinToken, err error) {
	if len(b) < 8 {
		return t, fmt.Errorf("join token of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	if len(b) > 8 {
		if err := codec.Unmarshal(b[8:], &t); err != nil {
			return t, fmt.Errorf("join token: %w: %w", err, frame.ErrDamaged)
		}
	}
	t.Expires = resource.Time(binary.BigEndian.Uint64(b))
	return t, nil
}
