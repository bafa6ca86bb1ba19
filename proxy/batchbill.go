package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/batch"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/pass"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// maxOutput bounds the output of a batch that is read for what it used.
const maxOutput = 256 << 20

// billBatches charges what a provider's batches have used to those who made them, once each, when an answer
// first tells that they are over: before the client learns where their output is. What cannot be charged
// now is tried again with the next answer.
func (s *Server) billBatches(ctx context.Context, c *Call, status int, body []byte) {
	if c.route.prefix == nil || c.configured != nil || s.cfg.Artifacts == nil || status != http.StatusOK || !strings.Contains("/"+c.rest, "/batches") {
		return
	}
	for _, due := range batch.Dues(body) {
		s.billDue(ctx, c, due)
	}
}

// billResults does the same before the results of a batch of Anthropic's pass, which a client may ask for without
// asking whether they are there.
func (s *Server) billResults(ctx context.Context, c *Call) {
	if c.route.prefix == nil || c.configured != nil || s.cfg.Artifacts == nil || c.method != http.MethodGet {
		return
	}
	if id := pass.Results(c.rest); id != "" {
		s.billDue(ctx, c, batch.Due{ID: id})
	}
}

// billDue charges one batch, and says so where that is not possible now.
func (s *Server) billDue(ctx context.Context, c *Call, due batch.Due) {
	if err := s.billBatch(ctx, c, due); err != nil {
		s.log.Warn("a provider's batch is not charged yet", "request_id", c.id, "batch", due.ID, "error", err)
	}
}

// billBatch charges one, unless that was done: with a record for each model that has answered.
func (s *Server) billBatch(ctx context.Context, c *Call, due batch.Due) error {
	a, version, err := s.cfg.Artifacts.Get(ctx, due.ID)
	if errors.Is(err, resource.ErrNotFound) || err == nil && (a.ChargedAt != 0 || a.DeploymentID != c.result.target.Deployment.ID) {
		return nil
	}
	if err != nil {
		return err
	}
	output, err := s.fetchOutput(ctx, c, due)
	if err != nil {
		return err
	}
	var owed []*Call
	charge := func(taken bool) {
		for _, o := range owed {
			if !taken {
				o.result.attempts, o.result.usage = 0, llm.Usage{}
			}
			o.result.status = http.StatusOK
			s.finish(o, nil)
			s.recycle(o)
		}
	}
	for i, bill := range batch.BillsOf(output) {
		o, err := s.openBill(ctx, c, a, bill, i)
		if err != nil {
			charge(false)
			return err
		}
		owed = append(owed, o)
	}
	done := *a
	done.ChargedAt = resource.At(s.now())
	_, err = s.cfg.Artifacts.Put(ctx, &done, version)
	charge(err == nil) // if not, another node has charged it, or nobody knows
	if errors.Is(err, resource.ErrConflict) {
		return nil
	}
	return err
}

// fetchOutput reads what a batch of the deployment that was asked has made.
func (s *Server) fetchOutput(ctx context.Context, c *Call, due batch.Due) ([]byte, error) {
	d := c.view.Deployment(&c.result.target)
	root, err := d.Provider.Root(d.Base, d.Account.Or().Options)
	if err != nil {
		return nil, fmt.Errorf("find the provider's files: %w", err)
	}
	path, ok := pass.Path(root, due.Path(), "")
	if !ok {
		return nil, badPath()
	}
	at, _ := pass.Endpoint(d.Provider, "files")
	answer, err := s.cfg.Upstream.Do(ctx, &upstream.Attempt{
		Provider: d.Provider, Endpoint: at, Base: root, Path: path, Method: http.MethodGet, Model: d.Name, Account: d.Account, Opaque: true, Link: d.Link,
		Timeouts: d.Timers, MaxBody: maxOutput,
	})
	if err != nil {
		return nil, fmt.Errorf("read the batch's output: %w", err)
	}
	if answer.Stream == nil {
		return answer.Body, nil
	}
	defer answer.Stream.Close()
	var all []byte
	for {
		ev, err := answer.Stream.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the batch's output: %w", err)
		}
		if all = append(all, ev.Raw...); len(all) > maxOutput {
			return nil, fmt.Errorf("the batch's output has more than %d bytes", maxOutput)
		}
	}
}

// openBill makes the call of the bill with that number: as if the key that made the batch had asked what it used, which
// happened whatever is left of its budget.
func (s *Server) openBill(ctx context.Context, from *Call, a *resource.Artifact, bill batch.Bill, number int) (*Call, error) {
	c := s.calls.Get().(*Call)
	id := a.ID + ".usage"
	if number > 0 {
		id += "-" + strconv.Itoa(number+1)
	}
	c.came = came{
		id: id, route: from.route, path: from.path, peer: from.peer, method: http.MethodPost, header: http.Header{}, out: reply.Silent{}, started: s.now(),
	}
	c.cat, c.batch, c.model = from.cat, a, from.model
	who, err := s.auth.Holder(c.cat, a.Owners.KeyID)
	if err != nil {
		s.recycle(c)
		return nil, err
	}
	c.who, c.view = who, s.view.Of(c.cat)
	c.levels = who.Levels(c.levels[:0])
	c.chain, c.above = len(c.levels), len(c.levels)
	c.levels = c.cat.ModelLevels(c.levels, nil, c.model)
	c.fields.User, c.limit = a.Owners.CustomerID, noLimit{}
	if c.money, err = s.cfg.Budgets.Reserve(ctx, budget.Request{Catalog: c.cat, Levels: c.levels, Model: c.model.Name, Free: true}); err != nil {
		s.recycle(c)
		return nil, err
	}
	c.result.target, c.result.attempts, c.result.usage = from.result.target, 1, bill.Usage
	c.result.began, c.result.dialled = c.started, c.started
	if d := c.view.Deployment(&c.result.target); bill.Model != "" && !strings.HasPrefix(bill.Model, d.Name) {
		c.other = bill.Model
	}
	if err := openEntry(ctx, s, c); err != nil {
		c.release()
		s.recycle(c)
		return nil, err
	}
	return c, nil
}
