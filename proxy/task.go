package proxy

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/view"
)

// taskFor is a task in the words of the deployment's endpoint: read once, written for each attempt.
func (c *Call) taskFor(d *view.Deployment, at llm.Endpoint) ([]byte, error) {
	if c.task == nil {
		task, err := translate.ReadTask(c.route.endpoint, c.body)
		if err != nil {
			return nil, err
		}
		c.task = task
	}
	t := c.targetOf(d)
	sent, err := c.task.Write(at, &t)
	c.dropped = t.Dropped()
	if err != nil {
		return nil, err
	}
	return sent.Body, nil
}

// taskSaid says a provider's answer to a task as the client wants it.
func (s *Server) taskSaid(c *Call, a *Answer, at llm.Endpoint) error {
	said(a)
	usage := a.Report.Usage
	if a.Report.HasUsage {
		usage = c.quote.Complete(c.route.endpoint, usage)
	} else {
		usage = s.estimateUsage(c)
	}
	got, err := c.task.Answer(at, &translate.Given{ID: c.id, Header: a.Header, Body: a.Body, Usage: usage})
	if err != nil {
		return err
	}
	a.Body = got.Body
	a.Header = a.Header.Clone()
	a.Header.Del("Content-Type") // is the dialect's own
	if got.Type != "" {
		a.Header.Set("Content-Type", got.Type)
	}
	return nil
}
