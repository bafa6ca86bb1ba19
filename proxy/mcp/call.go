package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/proxy/budget"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/proxy/ratelimit"
	"github.com/conclave-llm/conclave/proxy/reply"
	"github.com/conclave-llm/conclave/resource"
)

// endpoint is the name of the gateway's rows in the ledger, and provider that of their provider.
const (
	endpoint = "mcp"
	provider = "mcp"
)

// call is one use of a server that is limited, paid and judged: of a tool, a prompt or a resource.
type call struct {
	c        *caller
	id       string
	server   *resource.MCPServer
	what     named
	cost     resource.Money
	started  time.Time
	step     string
	limit    *ratelimit.Hold
	money    *budget.Hold
	entry    uint64
	guards   *guardrail.Set
	verdicts []ledger.GuardrailResult
	asked    bool // the server has got it
	request  json.RawMessage
	response json.RawMessage
}

// named is what a call is of.
type named struct {
	asked string // "git-push": a tool's full name, of which the call's model, "mcp/git-push", is made
	// told is the name in rows, which make totals that are kept for ever: of names that the server does not list a
	// client could make any number, and say anything in them.
	told string
	// learn gives told after the server was asked what it lists; nil: told is right.
	learn func(ctx context.Context, session *sdk.ClientSession) string
}

// use takes a call through its steps: limits, budget, guardrails on the request, the journal's
// reservation, the server, guardrails on the result, settlement. ask is given the request as
// guardrails left it; result is what they leave of the answer.
func (c *caller) use(ctx context.Context, s *resource.MCPServer, what named, cost resource.Money, raw json.RawMessage,
	ask func(ctx context.Context, session *sdk.ClientSession, request json.RawMessage) (any, error), result any,
) (err error) {
	k := &call{c: c, id: newID(), server: s, what: what, cost: cost, started: c.g.cfg.Now(), request: raw}
	defer func() {
		if p := recover(); p != nil {
			c.g.cfg.Logger.Error("MCP call panicked", "request_id", k.id, "panic", fmt.Sprint(p))
			err = &llm.Error{Kind: llm.Internal, Message: "The gateway failed."}
		}
		k.finish(err)
	}()
	if err := k.reserve(ctx); err != nil {
		return err
	}
	if err := k.judge(ctx, false); err != nil {
		return err
	}
	if err := k.open(); err != nil {
		return err
	}
	k.step = "answer"
	var answer any
	headers, err := c.headers(ctx, s)
	if err != nil {
		return err
	}
	err = c.g.links.of(c.cat, s).use(ctx, headers, func(ctx context.Context, session *sdk.ClientSession) error {
		k.asked = true
		if k.what.learn != nil {
			k.what.told = k.what.learn(ctx, session)
		}
		answer, err = ask(ctx, session, k.request)
		return err
	})
	if err = c.refused(s, err); err != nil {
		return k.failure(ctx, err)
	}
	if k.response, err = json.Marshal(answer); err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	if len(k.response) > MaxAnswer {
		return k.failure(ctx, errTooLarge)
	}
	if err := k.judge(ctx, true); err != nil {
		return err
	}
	return json.Unmarshal(k.response, result)
}

// model is the call's name among models, for limits, budgets, guardrails and rows.
func (k *call) model() string { return "mcp/" + k.what.asked }

// told is the model in rows.
func (k *call) told() string { return "mcp/" + k.what.told }

// reserve holds one request in the limits and the price in the budgets.
func (k *call) reserve(ctx context.Context) (err error) {
	g := k.c.g
	k.step = "limits"
	k.limit, err = g.cfg.Limits.Reserve(ctx, &ratelimit.Request{
		Catalog: k.c.cat, Levels: k.c.levels, Model: k.model(), Session: k.c.session, Tags: k.c.tags, Server: k.server,
	})
	if err != nil {
		return err
	}
	k.step = "budget"
	k.money, err = g.cfg.Budgets.Reserve(ctx, budget.Request{
		Catalog: k.c.cat, Levels: k.c.levels, Model: k.model(), Session: k.c.session, Most: budget.Amounts{Cost: k.cost}, Free: k.cost == 0,
	})
	return err
}

// judge asks the guardrails about the request, or about the result.
func (k *call) judge(ctx context.Context, result bool) error {
	k.step = "guardrails"
	if !result {
		if err := k.c.g.cfg.Guards.Wait(ctx); err != nil {
			return err
		}
		k.guards = k.c.g.cfg.Guards.For(k.model(), policy.Choice(k.c.levels, k.c.who.Key, k.server.Guardrails))
	}
	if k.guards == nil {
		return nil
	}
	to, ask := &k.request, k.guards.Before
	if result {
		to, ask = &k.response, k.guards.After
	}
	doc, err := parseDocument(*to, result)
	if err != nil {
		return &llm.Error{Kind: llm.Invalid, Code: "mcp_invalid_value", Message: "The call cannot be checked by guardrails.", Err: err}
	}
	if len(doc.texts) > 0 {
		if err := k.ask(ctx, doc, ask); err != nil {
			return err
		}
	}
	*to, err = doc.bytes()
	return err
}

func (k *call) ask(ctx context.Context, doc *document, ask func(context.Context, *guardrail.Request) (*guardrail.Decision, error)) error {
	body, err := doc.show(k.model())
	if err != nil {
		return fmt.Errorf("show to guardrails: %w", err)
	}
	d, err := ask(ctx, &guardrail.Request{Info: k.info(), Body: body})
	if err != nil {
		return err
	}
	for i := range d.Results {
		r := &d.Results[i]
		k.verdicts = append(k.verdicts, ledger.GuardrailResult{Guardrail: r.Guardrail, Hook: string(r.Hook), Status: string(r.Status)})
	}
	if err := d.Err(); err != nil {
		return err
	}
	if d.Action == guardrail.Rewrite {
		return doc.take(d.Body)
	}
	return nil
}

// info is what guardrails are told about the call.
func (k *call) info() guardrail.Info {
	info := guardrail.Info{RequestID: k.id, Endpoint: endpoint, Model: k.model(), User: k.c.customer}
	if key := k.c.who.Key; key != nil {
		info.KeyID, info.TeamID = key.ID, key.TeamID
	}
	return info
}

// open writes what is about to be spent, before anything can be.
func (k *call) open() error {
	k.step = "ledger"
	h := k.c.who.Owners(k.c.customer)
	id, err := k.c.g.cfg.Journal.Reserve(&ledger.Reservation{
		RequestID: k.id, Time: resource.At(k.started), User: k.c.customer, Model: k.told(), Hold: k.cost, Holds: k.money.Holds(),
		KeyID: h.KeyID, TeamID: h.TeamID, UserID: h.UserID, ProjectID: h.ProjectID, OrganizationID: h.OrganizationID, CustomerID: k.c.customer, Tags: k.c.tags,
	})
	if err != nil {
		return &llm.Error{
			Kind: llm.Unavailable, Code: "conclave_journal_unavailable", RetryAfter: time.Second,
			Message: "This node cannot record what the call will spend.", Err: err,
		}
	}
	k.entry = id
	return nil
}

// failure is the error of a call that its server has not answered.
func (k *call) failure(ctx context.Context, err error) error {
	var e *llm.Error
	var theirs *jsonrpc.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return &llm.Error{Kind: llm.Canceled, Message: "The call was given up.", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Code: "mcp_server_timeout", Message: "The MCP server " + k.server.Name + " has not answered in time.", Err: err}
	case errors.As(err, &theirs):
		return &serverError{server: k.server.Name, wire: theirs, judged: k.guards.ChecksAnswers()}
	default:
		return &llm.Error{Kind: llm.Upstream, Code: "mcp_server_failed", Message: "The MCP server " + k.server.Name + " gave no answer that can be read.", Err: err}
	}
}

// serverError is a server's own error.
type serverError struct {
	server string
	wire   *jsonrpc.Error
	judged bool // guardrails would have to see its words
}

// Error implements error.
func (e *serverError) Error() string { return "MCP server " + e.server + ": " + e.wire.Message }

// As makes an *llm.Error of it, for the record.
func (e *serverError) As(target any) bool {
	to, ok := target.(**llm.Error)
	if ok {
		*to = &llm.Error{Kind: llm.Upstream, Code: "mcp_server_refused", Message: "The MCP server " + e.server + " refused the call."}
	}
	return ok
}

// finish settles a call, once, and leaves its row.
func (k *call) finish(err error) {
	g := k.c.g
	var charges []ledger.AccountCharge
	cost := resource.Money(0)
	if k.entry != 0 {
		if k.asked {
			cost = k.cost // a server that failed after it was asked may have done its work
		}
		k.limit.Settle(0, 0)
		charges = k.money.Settle(budget.Amounts{Cost: cost})
	}
	r := k.record(err, cost, charges)
	if jerr := g.cfg.Journal.Settle(k.entry, r); jerr != nil {
		g.cfg.Logger.Error("journal refuses a settlement", "request_id", k.id, "error", jerr)
	}
	if k.money != nil {
		k.money.Release()
	}
	if k.limit != nil {
		k.limit.Release()
	}
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	g.calls.WithLabelValues(k.server.Name, outcome).Inc()
	k.keep(r)
	g.cfg.Logger.Info("mcp call", "request_id", k.id, "server", k.server.Name, "name", k.what.told, "status", r.Status, "error_code", r.ErrorCode,
		"duration_ms", r.Duration.Milliseconds(), "key_id", r.KeyID)
}

func (k *call) record(err error, cost resource.Money, charges []ledger.AccountCharge) *ledger.Record {
	now, h := k.c.g.cfg.Now(), k.c.who.Owners(k.c.customer)
	r := &ledger.Record{
		RequestID: k.id, Time: resource.At(now), User: k.c.customer, CustomerID: k.c.customer, Tags: k.c.tags, SessionID: k.c.session,
		KeyID: h.KeyID, TeamID: h.TeamID, UserID: h.UserID, ProjectID: h.ProjectID, OrganizationID: h.OrganizationID,
		Endpoint: endpoint, Provider: provider, DeploymentID: k.server.ID, Model: k.told(), Status: 200, Cost: cost, Charges: charges,
		Duration: now.Sub(k.started), Guardrails: k.verdicts, Receipt: ledger.Receipt{PriceSource: "mcp_server"},
	}
	if k.asked {
		r.Attempts = 1
	}
	if k.entry != 0 {
		r.Hold = k.cost
	} else {
		r.CustomerID, r.Tags = "", nil // what was never admitted makes no totals
	}
	r.Callbacks = resource.ChosenCallbacks(k.c.levels)
	if policy.Private(k.c.levels) {
		r.Flags |= ledger.Private
	}
	for _, v := range k.verdicts {
		if s := guardrail.Status(v.Status); s == guardrail.StatusBlocked || s == guardrail.StatusRewritten {
			r.Guardrail = v.Guardrail
		}
	}
	if err != nil {
		e := reply.AsError(err)
		r.Status, r.ErrorKind, r.ErrorCode = e.HTTPStatus(), e.Kind.String(), reply.Code(e)
		r.Receipt.Step, r.Receipt.Scope, r.Receipt.Entity = k.step, e.Scope, e.Entity
	}
	return r
}

// keep hands over what was said, if it may be kept.
func (k *call) keep(r *ledger.Record) {
	if k.c.g.cfg.Keep == nil || k.entry == 0 || !policy.Keeps(k.c.levels, k.c.cat.Settings()) {
		return
	}
	said := Said{
		RequestID: k.id, Time: r.Time, Who: k.c.who, Customer: k.c.customer, Tags: k.c.tags, Request: k.request, Response: k.response,
	}
	if k.guards.Masks() {
		said.Guards, said.Info = k.guards, k.info()
	}
	k.c.g.cfg.Keep(said)
}
