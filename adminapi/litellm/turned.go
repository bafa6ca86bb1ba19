package litellm

import (
	"slices"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// turnedKey is the key of a rotation that is asked for again by its name, because its answer was lost: the client knows
// the key by the secret, or the hash of it, that this rotation has ended. missing is the error if there is none.
// It looks at every key, which nobody asks for but after such a loss.
func (a *API) turnedKey(by records.Caller, in records.Document, name string, missing error) (*resource.Key, error) {
	var ref string
	var turn resource.Turn
	if name == "" || in.Take("key", &ref) != nil || turn.Before.UnmarshalText([]byte(a.keyRef(ref))) != nil {
		return nil, missing
	}
	turn.Op = resource.HashSecret(name)
	q := fsm.ListQuery{Limit: 500}
	for {
		keys, next, _ := a.cfg.State.Keys(q)
		for _, k := range keys {
			if slices.Contains(k.Turns, turn) {
				return a.cfg.Records.Keys.One(by, k.ID)
			}
		}
		if next == "" {
			return nil, missing
		}
		q.Cursor = next
	}
}
