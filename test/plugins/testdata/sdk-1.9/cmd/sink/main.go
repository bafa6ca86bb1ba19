// Command sink is a callback of its time: it writes the positions that it gets to a file.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

type sink struct{ file *os.File }

func (s *sink) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	var path string
	err := json.Unmarshal(set.Config, &path)
	if err == nil {
		s.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	}
	return sdk.CallbackDescription{Version: "1.9.0"}, err
}

func (s *sink) Deliver(_ context.Context, records []sdk.Record) (int, error) {
	for _, r := range records {
		if _, err := fmt.Fprintln(s.file, "record", r.Position, r.Model, r.Usage.Output); err != nil {
			return 0, err
		}
	}
	return len(records), s.file.Sync()
}

func (s *sink) DeliverAudit(_ context.Context, entries []sdk.AuditEntry) (int, error) {
	for _, e := range entries {
		if _, err := fmt.Fprintln(s.file, "audit", e.Number); err != nil {
			return 0, err
		}
	}
	return len(entries), s.file.Sync()
}

func main() { sdk.ServeCallback(&sink{}) }
