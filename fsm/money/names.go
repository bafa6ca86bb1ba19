package money

import (
	"encoding/binary"
	"fmt"

	"github.com/conclave-llm/conclave/fsm/frame"
)

// OtherName is what is counted for once there are as many names as may have totals of their own.
const OtherName = "(other)"

// Names are how many names that only requests know, for they have no record, have totals of their own. Those rows
// stay for ever, so there must be an end to them.
type Names struct {
	Customers, Tags int64
}

const namesSize = 2 * 8

// Encode gives the row's bytes.
func (n Names) Encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, namesSize), uint64(n.Customers))
	return binary.BigEndian.AppendUint64(b, uint64(n.Tags))
}

// ParseNames reads what Encode gave.
func ParseNames(b []byte) (Names, error) {
	if len(b) != namesSize {
		return Names{}, fmt.Errorf("names of %d bytes, want %d: %w", len(b), namesSize, frame.ErrDamaged)
	}
	return Names{Customers: int64(binary.BigEndian.Uint64(b)), Tags: int64(binary.BigEndian.Uint64(b[8:]))}, nil
}
