package ratelimit

import (
	"context"

	"github.com/cespare/xxhash/v2"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Request is what is to be admitted.
type Request struct {
	Catalog *resource.Catalog   // of the shared budgets, whose limits count too; nil: there are none
	Levels  []resource.Level    // whose limits count
	Counted []resource.Level    // whose limits of the model count alone: in their others the request is counted already
	Model   string              // as clients name it: whose own limits count; "": none
	Input   int64               // estimate of the prompt's tokens
	Output  int64               // estimate of the completion's tokens
	Session string              // id of the agent session; "": none
	Tags    []string            // of the request
	Server  *resource.MCPServer // that is called; nil: none
}

// limited says that there is a limit at all.
func (r *Request) limited() bool {
	if len(r.Counted) > 0 {
		return true
	}
	for i := range r.Levels {
		v := &r.Levels[i]
		if v.Allowance != nil && r.Catalog.Limited(v.Allowance) {
			return true
		}
		if v.Policy != nil && (r.Session != "" && v.Policy.Sessions != nil || v.Policy.Limited()) {
			return true
		}
	}
	return false
}

// Reserve counts the request and its tokens in every limit of its levels, or in none. It
// returns an *llm.Error: RateLimited with RetryAfter, and the headers that tell of the limit,
// or Canceled. Where other nodes may hold what is left it waits for them, up to 300 ms. The
// caller calls Release once, after Settle if the request was sent. r is not kept.
func (l *Limiter) Reserve(ctx context.Context, r *Request) (*Hold, error) {
	if !r.limited() {
		return &none, nil
	}
	h := l.pool.Get().(*Hold)
	h.l = l
	h.now = l.cfg.Clock()
	for i := range r.Levels {
		if err := h.takeLevel(ctx, &r.Levels[i], r); err != nil {
			return nil, h.fail(err)
		}
	}
	for i := range r.Counted {
		if err := h.takeModel(ctx, &r.Counted[i], r); err != nil {
			return nil, h.fail(err)
		}
	}
	return h, nil
}

// fail gives back what was taken before an error.
func (h *Hold) fail(err error) error {
	h.undo()
	h.free()
	return err
}

// takeLevel counts the request in the limits of one holder: its own, those of the model, of the tags, of the MCP
// server and of the session.
func (h *Hold) takeLevel(ctx context.Context, v *resource.Level, r *Request) error {
	if a := v.Allowance; a != nil {
		all := r.Catalog.Limits(a)
		if err := h.takeAll(ctx, holder{kind: v.Kind, id: v.ID}, &all, r); err != nil {
			return err
		}
		if err := h.takeModel(ctx, v, r); err != nil {
			return err
		}
	}
	if v.Policy == nil {
		return nil
	}
	if v.Policy.Limited() {
		if err := h.takeParts(ctx, v, r); err != nil {
			return err
		}
	}
	if v.Policy.Sessions == nil || r.Session == "" {
		return nil
	}
	s := resource.Limits{RPM: v.Policy.Sessions.RPM, TPM: v.Policy.Sessions.TPM}
	return h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partSession, of: r.Session}, &s, r)
}

// takeModel counts the request in a holder's limits of the model.
func (h *Hold) takeModel(ctx context.Context, v *resource.Level, r *Request) error {
	if r.Model == "" {
		return nil
	}
	m, ok := r.Catalog.ModelLimits(v.Allowance, r.Model)
	if !ok {
		return nil
	}
	return h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partModel, of: r.Model}, &m, r)
}

// takeParts counts the request in a holder's limits of its tags and of the MCP server.
func (h *Hold) takeParts(ctx context.Context, v *resource.Level, r *Request) error {
	if len(v.Policy.TagLimits) > 0 {
		for _, tag := range r.Tags {
			l, ok := v.Policy.TagLimits[tag]
			if !ok {
				continue
			}
			if err := h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partTag, of: tag}, &l, r); err != nil {
				return err
			}
		}
	}
	if l, ok := v.Policy.LimitsOfMCP(r.Server); ok {
		return h.takeAll(ctx, holder{kind: v.Kind, id: v.ID, part: partMCP, of: r.Server.ID}, &l, r)
	}
	return nil
}

// takeAll counts the request in one set of limits.
func (h *Hold) takeAll(ctx context.Context, of holder, limits *resource.Limits, r *Request) error {
	for _, d := range [...]struct {
		dim   dimension
		limit *int64
		cost  int64
	}{
		{parallel, limits.Parallel, 1},
		{requests, limits.RPM, 1},
		{tokens, limits.TPM, max(0, r.Input) + max(0, r.Output)},
		{input, limits.InputTPM, max(0, r.Input)},
		{output, limits.OutputTPM, max(0, r.Output)},
	} {
		if d.limit == nil {
			continue
		}
		if err := h.take(ctx, of, d.dim, *d.limit, d.cost); err != nil {
			return err
		}
	}
	return nil
}

// part says which of a holder's limits are meant.
type part byte

const (
	partAll     part = 0 // those of all requests
	partModel   part = 1 // those of one model
	partSession part = 2 // those of one agent session
	partTag     part = 3 // those of one tag
	partMCP     part = 4 // those of one MCP server
)

// String is the part as receipts name it.
func (p part) String() string {
	return [...]string{partAll: "", partModel: llm.PartModel, partSession: llm.PartSession, partTag: llm.PartTag, partMCP: llm.PartMCP}[p]
}

// holder is one set of limits.
type holder struct {
	kind, id string
	part     part
	of       string // the model, the session, the tag or the server's id
}

func (o holder) String() string {
	switch o.part {
	case partModel:
		return o.kind + " for model " + o.of
	case partSession:
		return o.kind + " for one session"
	case partTag:
		return o.kind + " for the tag " + o.of
	case partMCP:
		return o.kind + " for one MCP server"
	default:
		return o.kind
	}
}

// limit names one limit alike on all nodes.
func (o holder) limit(dim dimension) uint64 {
	id := mix(xxhash.Sum64String(o.id), xxhash.Sum64String(o.kind)+uint64(dim))
	if o.part != partAll {
		id = mix(id, xxhash.Sum64String(o.of)+uint64(o.part))
	}
	return id
}
