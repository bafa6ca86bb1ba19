// Package dedupe remembers what became of commands, so that one that is proposed again is not
// done again.
package dedupe

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Window is for how many entries of the log a command is remembered, and how far its
// proposer's state may lie behind.
const Window = 65536

// Outcome is what became of a command.
type Outcome struct {
	Index      uint64 // of the entry that did it
	Generation uint64
	Version    uint64
	Err        error // a refusal
}

// Seen finds the outcome of an earlier try of the command with the id, as of an index.
func Seen(rows store.Rows, id []byte, index uint64) (Outcome, bool, error) {
	f, ok := rows.Value(store.Dedupe, id)
	if !ok || f.Version+Window < index {
		return Outcome{}, false, nil
	}
	o, err := parse(f)
	return o, err == nil, err
}

// Remember keeps the outcome of the command with the id at an index, and forgets those that
// are too old; order is on the bucket store.DedupeOrder.
func Remember(rows store.Rows, order *bolt.Cursor, id []byte, index uint64, o Outcome) error {
	for k, v := order.First(); k != nil && binary.BigEndian.Uint64(k)+Window < index; k, v = order.Next() {
		f, err := frame.Parse(k, v)
		if err != nil {
			return err
		}
		rows.Delete(store.DedupeOrder, bytes.Clone(k))
		if old, ok := rows.Value(store.Dedupe, f.Payload); ok && old.Version == binary.BigEndian.Uint64(k) {
			rows.Delete(store.Dedupe, bytes.Clone(f.Payload))
		}
	}
	rows.Put(store.Dedupe, id, o.encode())
	rows.Put(store.DedupeOrder, binary.BigEndian.AppendUint64(nil, index), id)
	return nil
}

// encode gives generation, version, and of a refusal the length of its code and the code. What it says is no part
// of the state: that is for people, and another version of the program may word it otherwise.
func (o Outcome) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, o.Generation)
	b = binary.BigEndian.AppendUint64(b, o.Version)
	if o.Err == nil {
		return b
	}
	code := resource.Code(o.Err)
	return append(append(b, byte(len(code))), code...)
}

func parse(f frame.Value) (Outcome, error) {
	b := f.Payload
	if len(b) < 16 || (len(b) > 16 && len(b) < 17+int(b[16])) {
		return Outcome{}, fmt.Errorf("outcome of %d bytes: %w", len(b), frame.ErrDamaged)
	}
	o := Outcome{Index: f.Version, Generation: binary.BigEndian.Uint64(b), Version: binary.BigEndian.Uint64(b[8:])}
	if len(b) > 16 {
		n := 17 + int(b[16])
		text := string(b[n:]) // as earlier versions kept it
		if text == "" {
			text = fmt.Sprintf("it was refused at its first try, as entry %d (%s)", o.Index, b[17:n])
		}
		o.Err = resource.FromCode(string(b[17:n]), text)
	}
	return o, nil
}
