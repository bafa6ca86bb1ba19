package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/internal/clock"
	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/contents"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/resource"
)

// callbackFloor is the name under which the journal keeps what callbacks still need.
const callbackFloor = "callbacks"

// journalSource is the journal as callbacks read it.
type journalSource struct {
	journal *ledger.Journal
	catalog func() *resource.Catalog
	key     func(id string) (*resource.Key, bool)  // nil: nothing is told of keys
	user    func(id string) (*resource.User, bool) // nil: nothing is told of users
	// said finds what the request said and was told; nil: nobody keeps it.
	said func(requestID, keyID string) (*contents.Content, error)
	// edit shows a record, of which the guardrails with the names were asked for, to the guardrails that
	// see records; nil of it: no callback gets it. nil: there are none.
	edit func(due []string, r guardrail.Logged) (*guardrail.Logged, error)
	now  func() time.Time // nil: clock.Now
	// spent is what a holder has spent so far, and resets when the window of one of his budgets ends, zero if it does not.
	// nil: nothing is told of either.
	spent  func(kind, id string) int64
	resets func(holder, budget string) time.Time
}

// callbackSource is the node's journal with what was said, where it is kept.
func (n *Node) callbackSource() journalSource {
	return journalSource{
		journal: n.journal, catalog: n.state.Catalog,
		edit: func(due []string, r guardrail.Logged) (*guardrail.Logged, error) {
			chain := n.plugins.Guardrails()
			if !chain.Logs() {
				return &r, nil
			}
			if err := chain.Wait(n.ctx); err != nil {
				return nil, err
			}
			return chain.Logged(n.ctx, due, r)
		},
		key: n.state.Key, user: n.state.User,
		spent: func(kind, id string) int64 { return int64(n.state.Totals(kind, id).Cost) }, resets: n.budgetResets,
		said: func(requestID, keyID string) (*contents.Content, error) {
			if n.contents == nil {
				return nil, nil
			}
			n.masking.wait(n.ctx, requestID)
			n.contents.Flush()
			return n.contents.Find(requestID, keyID)
		},
	}
}

const (
	// saidAfter is when what was said is surely kept, if it is kept.
	saidAfter = 2 * time.Second
	// saidBytes of prompts and answers are read at a time: a message to a plugin is bounded.
	saidBytes = 8 << 20
)

// Read implements callback.Source.
func (s journalSource) Read(sub *callback.Subscription, from uint64, limit int) ([]callback.Record, uint64, error) {
	after := from - min(from, 1)
	if oldest, count, gone := s.journal.Missing(after); gone {
		return nil, from, &callback.Truncated{Oldest: oldest, Records: count}
	}
	records, next, err := s.journal.ReadFrom(after, limit)
	if err != nil {
		return nil, from, err
	}
	cat := s.catalog()
	pluginOf := pluginNames(cat)
	known := &books{map[string]int64{}, map[string]time.Time{}}
	out := make([]callback.Record, 0, len(records))
	size := 0
	for i := range records {
		r := &records[i]
		if r.Flags.Has(ledger.Adjustment) || !sub.Wants(callbackStatus(r), r.Callbacks, pluginOf) {
			continue // is no request, or none of this sink's
		}
		told := s.record(r, cat, known)
		if sub.Content {
			if s.time().Sub(r.Time.Std()) < saidAfter || size > saidBytes {
				return out, r.Number, nil
			}
			if err := s.tell(r, &told); err != nil {
				return out, r.Number, err
			}
			size += len(told.Request) + len(told.Response)
		}
		switch ok, err := s.edited(r, &told); {
		case err != nil:
			return out, r.Number, err
		case ok:
			out = append(out, told)
		}
	}
	return out, next + 1, nil
}

func (s journalSource) time() time.Time {
	if s.now == nil {
		return clock.Now()
	}
	return s.now()
}

// tell adds what was said, if it was kept and nobody minds by now, and who and from where.
func (s journalSource) tell(r *ledger.Record, told *callback.Record) error {
	if r.Flags.Has(ledger.Private) {
		return nil
	}
	told.Address = r.Receipt.Facts.Address
	if s.user != nil {
		if u, ok := s.user(r.UserID); ok {
			told.UserEmail = u.Email
		}
	}
	if s.said == nil {
		return nil
	}
	said, err := s.said(r.RequestID, r.KeyID)
	if err != nil {
		return fmt.Errorf("read what request %s said: %w", r.RequestID, err)
	}
	if said != nil && said.Time == r.Time { // clients may choose an id twice
		told.Request, told.Response, told.Truncated, told.UserAgent = said.Request, said.Response, said.Truncated, said.UserAgent
	}
	return nil
}

// edited makes of the record what guardrails leave of it; false: it is not told. What was spent stays.
func (s journalSource) edited(r *ledger.Record, told *callback.Record) (bool, error) {
	if s.edit == nil {
		return true, nil
	}
	var due []string
	for _, g := range r.Guardrails {
		if g.Hook == string(resource.HookLogging) {
			due = append(due, g.Guardrail)
		}
	}
	left, err := s.edit(due, guardrail.Logged{
		RequestID: told.RequestID, Endpoint: told.Endpoint, Model: told.Model, Provider: told.Provider, KeyID: told.KeyID, TeamID: told.TeamID,
		UserID: told.UserID, Status: told.Status, HTTPStatus: told.HTTPStatus, ErrorCode: told.ErrorCode, CostNanoUSD: told.CostNanoUSD,
		EndUser: told.EndUser, CustomerID: told.CustomerID, SessionID: told.SessionID, Tags: told.Tags, Message: told.Message,
		Request: told.Request, Response: told.Response,
	})
	if err != nil || left == nil {
		return false, err
	}
	told.EndUser, told.CustomerID, told.SessionID, told.Tags, told.Message = left.EndUser, left.CustomerID, left.SessionID, left.Tags, left.Message
	told.Request, told.Response = left.Request, left.Response
	return true, nil
}

// pluginNames gives the plugin of each callback.
func pluginNames(cat *resource.Catalog) func(name string) string {
	return func(name string) string {
		for _, c := range cat.Tables().Callbacks {
			if c.Name == name {
				return c.Plugin
			}
		}
		return ""
	}
}

func (s journalSource) record(r *ledger.Record, cat *resource.Catalog, known *books) callback.Record {
	out := callbackRecord(r, cat)
	if s.key != nil {
		if k, ok := s.key(r.KeyID); ok {
			out.KeyName = k.Name
			if t := moneyTerms(cat, &k.Allowance); t != nil {
				out.KeyBudget, out.Books.KeyResets = new(int64(t.USD)), known.resets(s, resource.HolderKey+"/"+k.ID, t.Name)
			}
			if m := logMetadata(k.Metadata); m != nil {
				out.LogMetadata = m
			}
		}
	}
	if s.user != nil {
		if u, ok := s.user(r.UserID); ok {
			out.Books.UserBudget = moneyOf(cat, &u.Allowance)
		}
	}
	b := &out.Books
	b.KeySpend, b.UserSpend, b.TeamSpend = known.spent(s, resource.HolderKey, r.KeyID), known.spent(s, resource.HolderUser, r.UserID), known.spent(s, resource.HolderTeam, r.TeamID)
	return out
}

// books are what was looked up for the records that are read at a time: many have the same holders.
type books struct {
	spendings map[string]int64     // by holder
	ends      map[string]time.Time // of windows
}

func (b *books) spent(s journalSource, kind, id string) *int64 {
	if s.spent == nil || id == "" {
		return nil
	}
	holder := kind + "/" + id
	nano, ok := b.spendings[holder]
	if !ok {
		nano = s.spent(kind, id)
		b.spendings[holder] = nano
	}
	return &nano
}

func (b *books) resets(s journalSource, holder, budget string) time.Time {
	if s.resets == nil {
		return time.Time{}
	}
	at, ok := b.ends[holder]
	if !ok {
		at = s.resets(holder, budget)
		b.ends[holder] = at
	}
	return at
}

// budgetResets is when the window of a holder's budget that is now ends; zero: it does not, or nothing was spent in it.
func (n *Node) budgetResets(holder, budget string) time.Time {
	now := resource.At(time.Now())
	for _, a := range n.state.Accounts(holder) {
		if string(a.ID) == holder+"/"+budget && a.Window.Contains(now) && a.Window.End != 0 {
			return a.Window.End.Std()
		}
	}
	return time.Time{}
}

// logMetadata is what LiteLLM has in a holder's metadata for logs of spending; nil: nothing.
func logMetadata(metadata json.RawMessage) json.RawMessage {
	const member = "spend_logs_metadata"
	if !bytes.Contains(metadata, []byte(member)) { // mostly so
		return nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(metadata, &m) != nil || !bytes.HasPrefix(m[member], []byte("{")) {
		return nil
	}
	return m[member]
}

// moneyOf is the limit of the first window of money that counts for all models; nil: there is none.
func moneyOf(cat *resource.Catalog, a *resource.Allowance) *int64 {
	if t := moneyTerms(cat, a); t != nil {
		return new(int64(t.USD))
	}
	return nil
}

func moneyTerms(cat *resource.Catalog, a *resource.Allowance) *resource.Terms {
	terms, _ := cat.Terms(a.Budgets, a.BudgetID)
	for i := range terms {
		if t := &terms[i]; t.Tokens == nil && t.Requests == nil && t.GPUSeconds == nil && len(t.Models) == 0 {
			return t
		}
	}
	return nil
}

func callbackRecord(r *ledger.Record, cat *resource.Catalog) callback.Record {
	out := callback.Record{
		Position: r.Number, RequestID: r.RequestID, NodeID: r.Node,
		StartedAt: r.Time.Std().Add(-r.Duration), Duration: r.Duration, FirstToken: r.TTFT,
		Endpoint: r.Endpoint, Model: r.Model, DeploymentID: r.DeploymentID,
		Provider: r.Provider, Attempts: r.Attempts,
		KeyID: r.KeyID, TeamID: r.TeamID, UserID: r.UserID, EndUser: r.User, Tags: r.Tags,
		Stream: r.Flags.Has(ledger.Streamed), Status: callbackStatus(r), HTTPStatus: r.Status,
		OrganizationID: r.OrganizationID, ProjectID: r.ProjectID, CustomerID: r.CustomerID, SessionID: r.SessionID,
		Step: r.Receipt.Step, Message: r.Receipt.Rule, Prompt: r.Prompt, PromptVersion: r.PromptVersion,
		Cached: r.Flags.Has(ledger.Cached), Path: r.Receipt.Facts.Path,
		ErrorCode: r.ErrorCode, Usage: r.Usage, CostNanoUSD: int64(r.Cost), Priced: !r.Flags.Has(ledger.Unpriced),
	}
	if d, ok := cat.Deployment(r.DeploymentID); ok {
		out.Provider, out.UpstreamModel, out.APIBase = cmp.Or(out.Provider, d.Provider), cmp.Or(d.Upstream, out.Model), bare(d.APIBase)
	}
	holders(&out, cat)
	for _, g := range r.Guardrails {
		if g.Hook == string(resource.HookLogging) {
			continue // it is about to be asked
		}
		out.Guardrails = append(out.Guardrails, callback.GuardrailResult{Guardrail: g.Guardrail, Hook: g.Hook, Status: g.Status, Found: g.Found})
	}
	return out
}

// holders fills in what the catalog says of those for whom the request was.
func holders(r *callback.Record, cat *resource.Catalog) {
	if t, ok := cat.Team(r.TeamID); ok {
		r.TeamName, r.TeamBudget, r.LogMetadata = t.Name, moneyOf(cat, &t.Allowance), logMetadata(t.Metadata)
	}
	if o, ok := cat.Organization(r.OrganizationID); ok {
		r.OrganizationName = o.Name
	}
	if p, ok := cat.Project(r.ProjectID); ok {
		r.ProjectName = p.Name
	}
	if m, ok := cat.Model(r.Model); ok {
		r.AccessGroups = m.AccessGroups
	}
}

// bare is a URL without what may be secret in it.
func bare(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func callbackStatus(r *ledger.Record) string {
	switch {
	case r.Status == 499 || r.ErrorKind == llm.Canceled.String():
		return resource.StatusCanceled
	case r.ErrorKind == llm.Blocked.String() || r.ErrorCode == "guardrail_blocked":
		return resource.StatusBlocked
	case r.Failed():
		return resource.StatusFailure
	default:
		return resource.StatusSuccess
	}
}

// holdFloor keeps the journal's records that callbacks still need, as far as the journal lets
// a sink that is dead hold it.
func (n *Node) holdFloor() {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if mark, ok := n.plugins.Delivered(); ok {
			n.journal.SetSoftFloor(callbackFloor, mark-min(mark, 1))
		} else {
			n.journal.DropFloor(callbackFloor)
		}
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
	}
}
