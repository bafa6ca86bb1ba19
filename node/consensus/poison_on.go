//go:build conclave_fault

package consensus

import (
	"bytes"
	"os"
	"slices"

	"github.com/conclave-llm/conclave/fsm/entry"
	"github.com/conclave-llm/conclave/internal/fault"
)

// unknownKind is the number of a command that no program knows.
const unknownKind = 65535

// poisoned is what a leader of a program for tests appends to the log for an entry that has the word "poison" in it:
// with CONCLAVE_FAULT=entry.unknown a command that nobody knows, with entry.corrupt one whose last byte is another.
func poisoned(data []byte) []byte {
	if !bytes.Contains(data, []byte("poison")) {
		return data
	}
	switch os.Getenv(fault.Variable) {
	case fault.EntryUnknown:
		env, _, body, err := entry.Decode(data)
		if err != nil {
			return data
		}
		bad, err := entry.Encode(env, unknownKind, body)
		if err != nil {
			return data
		}
		return bad
	case fault.EntryCorrupt:
		bad := slices.Clone(data)
		bad[len(bad)-1] ^= 1
		return bad
	}
	return data
}
