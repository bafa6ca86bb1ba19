package fsm

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"

	"github.com/conclave-llm/conclave/fsm/frame"
)

// Forge gives an entry another kind and a right checksum.
func Forge(b []byte, kind Kind) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(kind))
	binary.BigEndian.PutUint32(b[8:], crc32.Update(crc32.Checksum(b[:8], frame.Castagnoli), frame.Castagnoli, b[12:]))
	return b
}

// TableLen is the number of kinds.
func TableLen() int { return len(table) + 1 }

// ItemsAreAdmins says that every kind that may stand in a Batch asks for what a Batch does.
func ItemsAreAdmins() bool {
	for _, r := range table {
		if r.item && r.who != batchRow.who {
			return false
		}
	}
	return true
}

// CommandTypes are the types of all commands.
func CommandTypes() (all []reflect.Type) {
	for _, r := range table {
		all = append(all, r.typ)
	}
	return all
}

// SealedTypes are the records that an exchange of the data key seals anew.
func SealedTypes() (all []reflect.Type) {
	for _, r := range sealedRows {
		all = append(all, r.typ)
	}
	return all
}

// Expecting is how many entries were read and not applied.
func (f *FSM) Expecting() int {
	f.expected.mu.Lock()
	defer f.expected.mu.Unlock()
	return len(f.expected.by)
}
