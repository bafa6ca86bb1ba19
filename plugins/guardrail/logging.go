package guardrail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Logs says whether the chain has guardrails that may be asked about records.
func (c *Chain) Logs() bool {
	t := c.table.Load()
	return t != nil && len(t.logging) > 0
}

// Logged shows a record to the guardrails that want to see records: those that always apply to its model, and
// those among due, the names that the request asked for. It returns the record as callbacks may get it, nil
// for none. Where a guardrail that must run did not, what was said and named by the client is left out.
// The error is the context's.
func (c *Chain) Logged(ctx context.Context, due []string, r Logged) (*Logged, error) {
	t := c.table.Load()
	if t == nil {
		return &r, nil
	}
	s := Set{metrics: c.metrics}
	choice := Choice{Asked: due}
	for _, m := range t.logging {
		if !choice.takes(m, r.Model) || !m.wants(resource.HookLogging) {
			continue
		}
		start := time.Now()
		v, err := m.log(ctx, &r)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var d Decision
		s.note(&d, m, resource.HookLogging, v, err, time.Since(start))
		switch {
		case m.Observe:
		case err != nil && m.OnError != resource.OnErrorPass:
			r.EndUser, r.CustomerID, r.SessionID, r.Tags, r.Message, r.Request, r.Response = "", "", "", nil, "", nil, nil
		case err != nil:
		case v.Action == Block:
			return nil, nil
		case v.Action == Rewrite:
			e := v.Record
			r.EndUser, r.CustomerID, r.SessionID, r.Tags, r.Message = e.EndUser, e.CustomerID, e.SessionID, e.Tags, e.Message
			r.Request, r.Response = e.Request, e.Response
		}
	}
	return &r, nil
}

// log asks one member about a record.
func (m *Member) log(ctx context.Context, r *Logged) (Verdict, error) {
	live, err := m.ready(resource.HookLogging)
	if err != nil {
		return Verdict{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.deadline())
	defer cancel()
	shown := *r
	info := Info{RequestID: r.RequestID, Endpoint: r.Endpoint, Model: r.Model, KeyID: r.KeyID, TeamID: r.TeamID, User: r.EndUser}
	v, err := live.Backend.Check(ctx, &Check{Hook: resource.HookLogging, Info: info, Record: &shown})
	if err != nil {
		return Verdict{}, err
	}
	return v, Permits(resource.HookLogging, &v, m.May, MayRecord)
}

// DueLogs are the names of the guardrails of the request that are asked about its record only because it asked
// for them.
func (s *Set) DueLogs() (names []string) {
	if s == nil {
		return nil
	}
	for _, m := range s.members {
		if m.Optional && m.May&MayRecord != 0 {
			names = append(names, m.Name)
		}
	}
	return names
}

// Masks says whether what is kept of the request and its answer goes through Mask first.
func (s *Set) Masks() bool { return s != nil && len(s.logOnly) > 0 }

// Kept is what a request and its answer said, as it is about to be kept.
type Kept struct {
	Info
	Request   []byte // the body
	Response  []byte // the body, or the events of a stream
	Truncated bool   // Response is not whole
}

// Mask shows what is to be kept to the guardrails that are for that alone, and rewrites it. What they block,
// what cannot be checked and what one that must run was not asked about is left out; false: all of it is.
func (s *Set) Mask(ctx context.Context, k *Kept) bool {
	if !s.Masks() {
		return true
	}
	as := &Set{members: s.logOnly, metrics: s.metrics}
	d, err := as.Before(ctx, &Request{Info: k.Info, Body: k.Request})
	if err != nil || d.Err() != nil {
		return false
	}
	k.Request = d.Body
	switch response, err := as.maskAnswer(ctx, k); {
	case IsBlocked(err):
		return false
	case err != nil:
		k.Response, k.Truncated = nil, true
	default:
		k.Response = response
	}
	return true
}

var errCut = errors.New("an answer that is not whole cannot be checked")

// maskAnswer is the answer as it may be kept.
func (s *Set) maskAnswer(ctx context.Context, k *Kept) ([]byte, error) {
	switch {
	case len(k.Response) == 0 || !s.ChecksAnswers():
		return k.Response, nil
	case k.Truncated:
		return nil, errCut // a mask of its end would be missing
	case json.Valid(k.Response):
		return s.maskWhole(ctx, k, k.Response)
	case isEvents(k.Response):
		return s.maskEvents(ctx, k)
	}
	quoted, err := s.maskWhole(ctx, k, llm.AppendString(nil, string(k.Response)))
	if err != nil {
		return nil, err
	}
	var text string
	err = json.Unmarshal(quoted, &text)
	return []byte(text), err
}

func (s *Set) maskWhole(ctx context.Context, k *Kept, body []byte) ([]byte, error) {
	d, err := s.After(ctx, &Request{Info: k.Info, Body: body, Asked: k.Request})
	if err != nil {
		return nil, err
	}
	return d.Body, d.Err()
}

// maskEvents is the stream as it would have left, had the guardrails been asked about it.
func (s *Set) maskEvents(ctx context.Context, k *Kept) ([]byte, error) {
	c, err := s.Stream(ctx, &Request{Info: k.Info, Asked: k.Request})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out []byte
	for rest := k.Response; len(rest) > 0; {
		n := llm.EventSize(rest)
		left, err := c.Feed(ctx, rest[:n:n])
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
		out = append(out, bytes.Join(left, nil)...)
	}
	left, err := c.End(ctx)
	return append(out, bytes.Join(left, nil)...), err
}

// isEvents says whether an answer is a stream of events: Amazon's frames, or server-sent events.
func isEvents(b []byte) bool {
	if _, ok := frameData(b[:llm.EventSize(b)]); ok {
		return true
	}
	return slices.ContainsFunc([]string{"data:", "event:", "id:", ":", "retry:"}, func(p string) bool { return bytes.HasPrefix(b, []byte(p)) })
}
