package builtin

import (
	"bytes"
	"context"
	"encoding/json" // entries are written as the admin API does
	"fmt"

	"github.com/conclave-llm/conclave/plugins/sdk"
)

// DeliverAudit implements sdk.CallbackAuditor: an entry is a line {"audit": …}.
func (w *File) DeliverAudit(_ context.Context, entries []sdk.AuditEntry) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for i := range entries {
		line := struct {
			Audit *sdk.AuditEntry `json:"audit"`
		}{&entries[i]}
		if err := enc.Encode(line); err != nil {
			return 0, fmt.Errorf("encode audit entry: %w", err)
		}
	}
	if err := w.write(lines.Bytes()); err != nil {
		return 0, err
	}
	return len(entries), nil
}
