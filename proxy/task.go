package proxy

import (
	"context"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/follow"
	"github.com/conclave-llm/conclave/proxy/retry"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
)

// isTask says whether the deployment's endpoint is asked for a task in other words than the client's.
func (c *Call) isTask(at llm.Endpoint) bool {
	return at != c.route.endpoint && translate.Tasks(c.route.endpoint)
}

// prepareTask makes the attempt of a task in the words of the deployment's endpoint: it is read once,
// and written for each attempt.
func (s *Server) prepareTask(c *Call, d *view.Deployment, at llm.Endpoint) (*upstream.Attempt, error) {
	sent, err := c.taskFor(d, at)
	if err != nil {
		return nil, err
	}
	timers := d.Timers
	timers.Total = s.timeout(c, d)
	c.attempt = upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: d.Base, Model: d.Name, Account: d.Account, Link: d.Link, Timeouts: timers, Waits: c.waits,
		Body: sent.Body, Pieces: sent.Pieces, Type: sent.Type, Header: sent.Header, Opaque: sent.Bytes,
	}
	c.lent = c.lent || c.form != nil
	if sent.Path != "" {
		place := llm.Place{Endpoint: at, Model: d.Name, Options: d.Account.Or().Options}
		if c.attempt.Base, err = d.Provider.At(d.Base, place); err != nil {
			return nil, &llm.Error{Kind: llm.Internal, Code: retry.CodeUnusable, Message: "The deployment has no usable address.", Err: err}
		}
		c.attempt.Path = sent.Path
	}
	c.attempt.MaxBody = c.readAtMost()
	return &c.attempt, nil
}

// taskFor is the task in the words of the endpoint.
func (c *Call) taskFor(d *view.Deployment, at llm.Endpoint) (*llm.Sent, error) {
	if c.task == nil {
		var files []translate.Upload
		if c.form != nil {
			c.form.EachFile(func(field, name, kind string, data []byte) {
				files = append(files, translate.Upload{Field: field, Name: name, Type: kind, Data: data})
			})
		}
		task, err := translate.ReadTask(c.route.endpoint, c.body, files...)
		if err != nil {
			return nil, err
		}
		c.task = task
	}
	t := c.targetOf(d)
	sent, err := c.task.Write(at, &t)
	c.dropped = t.Dropped()
	return sent, err
}

// askTask makes the attempt, and what follows it.
func (s *Server) askTask(ctx context.Context, c *Call, a *upstream.Attempt) (Answer, error) {
	return follow.Do(ctx, s.cfg.Upstream, a, c.task.Follow)
}

// taskSaid says a provider's answer to a task as the client wants it.
func (s *Server) taskSaid(c *Call, a *Answer) error {
	said(a)
	g := translate.Given{ID: c.id, Body: a.Body, Report: a.Report, Now: s.now(), Complete: func(u llm.Usage) llm.Usage {
		if u.Source == llm.UsageNone {
			return s.estimateUsage(c)
		}
		return c.quote.Complete(c.route.endpoint, u)
	}}
	if a.Stream != nil {
		g.Raw = a.Stream
	}
	got, err := c.task.Answer(&g)
	if err != nil {
		return err
	}
	a.Body, a.Report.Usage, a.Report.HasUsage = got.Body, got.Usage, got.Usage.Source != llm.UsageNone
	kind := got.Type
	if got.Stream != nil {
		a.Stream, a.Raw, c.result.raw = got.Stream, got.Raw, got.Raw
		if kind == "" {
			return nil // audio as it came
		}
	}
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Type") // is the dialect's own
	a.Header.Del("Content-Length")
	if kind != "" {
		a.Header.Set("Content-Type", kind)
	}
	return nil
}

// follows is the first request of a conversation that takes several, and how it goes on; no next: it takes one.
func (c *Call) follows(a *upstream.Attempt) (*upstream.Attempt, follow.Next, error) {
	if a.Endpoint == c.route.endpoint || a.Endpoint.Family() != llm.FamilyConversation {
		return nil, nil, nil
	}
	out, _ := provider.OutboundOf(a.Endpoint)
	if o, ok := out.(provider.Opener); ok {
		if first, next, err := opened(o, a); err != nil || next != nil {
			return first, next, err
		}
	}
	if f, ok := out.(provider.Follower); ok {
		return a, f.Follow, nil
	}
	return nil, nil, nil
}

// opened is the first request of an exchange that does not begin with the attempt's own; no next: it does.
func opened(o provider.Opener, a *upstream.Attempt) (*upstream.Attempt, follow.Next, error) {
	place := llm.Place{Endpoint: a.Endpoint, Model: a.Model, Stream: a.Stream, Options: a.Account.Or().Options}
	step, next, err := o.Open(place, a.Body)
	if err != nil || step == nil {
		return nil, nil, err
	}
	first := *a
	first.Method, first.Body, first.Stream = step.Method, step.Body, false
	if step.Path != "" {
		if first.Base, err = a.Provider.At(a.Base, place); err != nil {
			return nil, nil, &llm.Error{Kind: llm.Internal, Code: retry.CodeUnusable, Message: "The deployment has no usable address.", Err: err}
		}
		first.Path = step.Path
	}
	return &first, next, nil
}
