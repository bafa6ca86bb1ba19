package fsm

import (
	"fmt"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/entry"
)

// MaxEntry is the largest entry that Encode makes, 8 MiB: an applied file is one entry.
const MaxEntry = entry.MaxSize

// ErrEntry says that the bytes are not an entry of this log, or a damaged one.
var ErrEntry = entry.ErrMalformed

// Encode makes the log entry of a command. It returns an error for a command that Decode
// would refuse. An FSMVersion of 0 stands for the oldest state machine that knows the command, and
// all that is in it.
func Encode(env Envelope, cmd Command) ([]byte, error) {
	b, err := Draft(env, cmd)
	if err != nil {
		return nil, err
	}
	if _, _, _, err := Decode(b); err != nil {
		return nil, fmt.Errorf("encode %s: %w", KindOf(newest(cmd)), err)
	}
	return b, nil
}

// Draft is Encode for somebody who has the entry read before it goes into the log: it may be one that
// Decode refuses, which would stop every node there.
func Draft(env Envelope, cmd Command) ([]byte, error) {
	cmd = newest(cmd)
	kind := KindOf(cmd)
	if _, ok := lookup(kind); !ok {
		return nil, fmt.Errorf("encode command %T: %w", cmd, ErrEntry)
	}
	if env.FSMVersion == 0 {
		env.FSMVersion = Needs(cmd)
	}
	body, err := codec.Marshal(cmd)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	b, err := entry.Encode(env, uint16(kind), body)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return b, nil
}

// Needs is the oldest state machine that knows the command, and all that is in it. An entry that
// needs more than the cluster's version must not reach the log: members that do not know it
// would stop. 0: the table has no such command.
func Needs(cmd Command) uint32 {
	row, ok := lookup(KindOf(newest(cmd)))
	if !ok {
		return 0
	}
	need := row.since
	batch, ok := cmd.(Batch)
	if !ok {
		return need
	}
	for _, it := range batch.Items {
		if row, ok := lookupItem(it.Kind); ok {
			need = max(need, row.since)
		}
	}
	return need
}

// Decode reads a log entry, strictly: every byte must be what Encode would have written; of a record's
// bytes, which are stored as they are, only what they say is looked at. For an unknown kind it returns an *UnknownKind.
func Decode(b []byte) (Envelope, Kind, Command, error) {
	env, number, body, err := entry.Decode(b)
	kind := Kind(number)
	if err != nil {
		return env, kind, nil, err
	}
	cmd, err := decodeBody(kind, body)
	return env, kind, cmd, err
}

func decodeBody(kind Kind, body []byte) (Command, error) {
	row, ok := lookup(kind)
	if !ok {
		return nil, &UnknownKind{Kind: kind}
	}
	cmd, err := row.decode(body)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return cmd, nil
}

// UnknownKind says that a newer state machine wrote the entry. A node that meets it stops:
// to skip the entry would make its state another than its peers'.
type UnknownKind struct{ Kind Kind }

// Error implements error.
func (e *UnknownKind) Error() string {
	return fmt.Sprintf("command kind %d is unknown to this version", uint16(e.Kind))
}
