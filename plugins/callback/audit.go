package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/session"
	"github.com/conclave-llm/conclave/resource"
)

// ErrNoAudit says that a plugin takes no audit entries.
var ErrNoAudit = errors.New("the plugin takes no audit entries")

// DeliverAudit implements Auditor. It returns ErrNoAudit for a plugin that is none.
func (c *Client) DeliverAudit(ctx context.Context, entries []resource.AuditEntry) (int, error) {
	batch := &proto.AuditBatch{Entries: make([]*proto.AuditEntry, len(entries))}
	for i := range entries {
		b, err := json.Marshal(&entries[i])
		if err != nil {
			return 0, fmt.Errorf("encode audit entry: %w", err)
		}
		batch.Entries[i] = &proto.AuditEntry{Number: entries[i].Number, Json: b}
	}
	resp, err := c.rpc.DeliverAudit(ctx, batch, grpc.MaxCallRecvMsgSize(maxAnswer))
	if status.Code(err) == codes.Unimplemented {
		return 0, ErrNoAudit
	}
	if err != nil {
		return 0, fmt.Errorf("deliver %d audit entries: %w", len(entries), session.Said(err))
	}
	return sort.Search(len(entries), func(i int) bool { return entries[i].Number > resp.GetDelivered() }), nil
}

// DeliverAudit answers the host.
func (s *server) DeliverAudit(ctx context.Context, b *proto.AuditBatch) (*proto.Receipt, error) {
	impl, ok := s.impl.(Auditor)
	if !ok {
		return nil, status.Error(codes.Unimplemented, ErrNoAudit.Error())
	}
	entries := make([]resource.AuditEntry, len(b.GetEntries()))
	for i, e := range b.GetEntries() {
		if err := json.Unmarshal(e.GetJson(), &entries[i]); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "audit entry %d: %v", e.GetNumber(), err)
		}
	}
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	n, err := impl.DeliverAudit(ctx, entries)
	if err != nil && n == 0 {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if n < 0 || n > len(entries) {
		return nil, status.Errorf(codes.Internal, "plugin says that it delivered %d of %d audit entries", n, len(entries))
	}
	if n == 0 {
		return &proto.Receipt{}, nil
	}
	return &proto.Receipt{Delivered: entries[n-1].Number}, nil
}

// Running is the plugin behind the queue, nil while none runs.
func (q *Queue) Running() Plugin {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.plugin
}
