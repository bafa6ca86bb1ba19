package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxObject is how many requests go into one object of many.
const maxObject = 500

// ObjectType is the type of an object's content.
const ObjectType = "application/x-ndjson"

// Objects is the part of a configuration that says what objects of a store requests become.
type Objects struct {
	Prefix   string `json:"prefix,omitempty"` // of every object's name
	Single   bool   `json:"single,omitempty"` // an object a request instead of one for many
	TeamPath bool   `json:"team_prefix,omitempty"`
}

// Batch is how many records one object has at most.
func (o *Objects) Batch() int {
	if o.Single || o.TeamPath {
		return 1
	}
	return maxObject
}

// Object is the name and the content of the object for the records, at most Batch of them. Its name is
// made of their positions, so that what comes again takes its own place.
func (o *Objects) Object(records []sdk.Record) (name string, content []byte, err error) {
	var body bytes.Buffer
	for i := range records {
		b, err := payload.Marshal(&records[i])
		if err != nil {
			return "", nil, err
		}
		body.Write(b)
		body.WriteByte('\n')
	}
	first, last := &records[0], &records[len(records)-1]
	name = fmt.Sprintf("%s/%s-%020d-%020d.jsonl", first.StartedAt.UTC().Format("2006/01/02/15"), first.NodeID, first.Position, last.Position)
	if o.Batch() == 1 {
		name = fmt.Sprintf("%s/%s-%020d.json", first.StartedAt.UTC().Format("2006-01-02"), first.NodeID, first.Position)
	}
	if o.TeamPath && first.TeamID != "" {
		name = first.TeamID + "/" + name
	}
	return o.named(name), body.Bytes(), nil
}

// Audit is the same for entries of the audit log, of which there is one at least.
func (o *Objects) Audit(entries []sdk.AuditEntry) (name string, content []byte, err error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i := range entries {
		if err := enc.Encode(map[string]*sdk.AuditEntry{"audit": &entries[i]}); err != nil {
			return "", nil, fmt.Errorf("encode audit entry: %w", err)
		}
	}
	return o.named(fmt.Sprintf("audit/%020d-%020d.jsonl", entries[0].Number, entries[len(entries)-1].Number)), body.Bytes(), nil
}

func (o *Objects) named(name string) string {
	return strings.TrimPrefix(path.Join(o.Prefix, name), "/")
}
