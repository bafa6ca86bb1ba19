package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// PutHolder makes the command that writes a record that can be limited; read is the version
// that was read, 0 for none, and shared the budget that its budget_id names, nil for none.
func PutHolder[R any, P Of[R]](next P, read uint64, shared *resource.Budget, now time.Time) (fsm.Command, error) {
	windows, err := windowsOf(next, shared, now)
	if err != nil {
		return nil, err
	}
	e, err := encoded((*R)(next))
	return fsm.PutHolder[R, P]{Record: e, Read: read, Windows: windows}, err
}

// windowsOf computes the windows that a holder's budgets are in; Apply never reads the time
// zone database.
func windowsOf(next resource.Record, shared *resource.Budget, now time.Time) ([]fsm.OpenWindow, error) {
	kind, a := resource.HolderOf(next)
	return fsm.Windows(kind, next.Head().ID, a, shared, now)
}

// putHolder is PutHolder with the shared budget as this node knows it.
func putHolder[R any, P Of[R]](rs *Records) func(next P, read uint64) (fsm.Command, error) {
	return func(next P, read uint64) (fsm.Command, error) {
		shared, err := rs.sharedBudget(next)
		if err != nil {
			return nil, err
		}
		return PutHolder[R, P](next, read, shared, rs.cfg.Now())
	}
}

// sharedBudget finds the budget that a holder shares, nil if it shares none. It replaces a
// name by the id.
func (rs *Records) sharedBudget(next resource.Record) (*resource.Budget, error) {
	_, a := resource.HolderOf(next)
	if a.BudgetID == "" {
		return nil, nil
	}
	b, ok := rs.findBudget(a.BudgetID)
	if !ok {
		return nil, invalid("budget_id", "there is no budget with the id or name "+a.BudgetID)
	}
	a.BudgetID = b.ID
	return b, nil
}

// holderNoun is what the nouns of all records that can be limited have in common.
func holderNoun[R any, P Of[R]](rs *Records, kind, prefix string) *Noun[R, P] {
	return &Noun[R, P]{
		rs: rs, kind: kind, prefix: prefix,
		put:    putHolder[R, P](rs),
		remove: func(id string) fsm.Command { return fsm.DeleteHolder[R, P]{ID: id} },
		hidden: []string{"spend", "accounts"},
	}
}

func (rs *Records) organizationNoun() *Noun[resource.Organization, *resource.Organization] {
	n := holderNoun[resource.Organization](rs, "organization", "org")
	n.all = func(Query) []*resource.Organization { return rs.cfg.State.Catalog().Tables().Organizations }
	n.find = rs.findOrganization
	n.owns = func(who resource.Principal, o *resource.Organization) bool {
		return who.Organization != nil && who.Organization.ID == o.ID
	}
	n.check = func(_ Caller, _, next *resource.Organization) (err error) {
		next.CustomerBudget, err = refer("customer_budget", next.CustomerBudget, rs.findBudget)
		return err
	}
	n.block = func(id string, blocked bool) fsm.Command { return fsm.BlockOrganization{ID: id, Blocked: blocked} }
	n.blocked = func(o *resource.Organization) *bool { return &o.Blocked }
	return n
}

func (rs *Records) findOrganization(ref string) (*resource.Organization, bool) {
	if o, ok := rs.cfg.State.Catalog().Organization(ref); ok {
		return o, true
	}
	return find(rs.cfg.State.Catalog().Tables().Organizations, ref)
}

func (rs *Records) projectNoun() *Noun[resource.Project, *resource.Project] {
	n := holderNoun[resource.Project](rs, "project", "proj")
	n.all = func(q Query) []*resource.Project {
		return where(rs.cfg.State.Catalog().Tables().Projects, idIn(q.TeamID, rs.findTeam), func(p *resource.Project) string { return p.TeamID })
	}
	n.find = rs.findProject
	n.owns = func(who resource.Principal, p *resource.Project) bool {
		return who.Key != nil && who.Key.ProjectID == p.ID
	}
	n.check = func(_ Caller, _, next *resource.Project) (err error) {
		next.TeamID, err = refer("team_id", next.TeamID, rs.findTeam)
		return err
	}
	n.block = func(id string, blocked bool) fsm.Command { return fsm.BlockProject{ID: id, Blocked: blocked} }
	n.blocked = func(p *resource.Project) *bool { return &p.Blocked }
	return n
}

func (rs *Records) findProject(ref string) (*resource.Project, bool) {
	if p, ok := rs.cfg.State.Catalog().Project(ref); ok {
		return p, true
	}
	return find(rs.cfg.State.Catalog().Tables().Projects, ref)
}

func (rs *Records) customerNoun() *Noun[resource.Customer, *resource.Customer] {
	n := holderNoun[resource.Customer](rs, "customer", "")
	n.page = func(q Query) ([]*resource.Customer, string, int) { return rs.cfg.State.Customers(rs.listQuery(q)) }
	n.find = rs.cfg.State.Customer
	n.block = func(id string, blocked bool) fsm.Command { return fsm.BlockCustomer{ID: id, Blocked: blocked} }
	n.blocked = func(c *resource.Customer) *bool { return &c.Blocked }
	return n
}

// BlockCustomers blocks or unblocks end users, all in one entry. To be blocked, one without a record gets one, for
// an end user needs none to send requests; to be unblocked he needs nothing done, and is named in unknown.
func (rs *Records) BlockCustomers(ctx context.Context, by Caller, state client.BlockState, refs ...string) (done []*resource.Customer, unknown []string, wr Written, err error) {
	var cmds []fsm.Command
	seen := map[string]bool{}
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		c, err := rs.Customers.One(by, ref)
		switch {
		case err == nil:
			cmds = append(cmds, rs.Customers.block(c.ID, state == client.Blocked))
		case !errors.Is(err, resource.ErrNotFound):
			return nil, nil, wr, err
		case state != client.Blocked:
			unknown = append(unknown, ref)
			continue
		default:
			doc := Document{"blocked": json.RawMessage("true")}
			if err := doc.Set("id", ref); err != nil {
				return nil, nil, wr, err
			}
			var more []fsm.Command
			if c, more, _, err = rs.Customers.prepare(by, doc); err != nil {
				return nil, nil, wr, fmt.Errorf("customer %q: %w", ref, err)
			}
			cmds = append(cmds, more...)
		}
		done = append(done, c)
	}
	if len(cmds) == 0 {
		return nil, unknown, wr, nil
	}
	if wr, err = rs.confirmed(ctx, by, cmds...); err != nil {
		return nil, nil, wr, err
	}
	for i, c := range done {
		done[i] = rs.Customers.stored(c)
	}
	return done, unknown, wr, nil
}

func (rs *Records) tagNoun() *Noun[resource.Tag, *resource.Tag] {
	n := holderNoun[resource.Tag](rs, "tag", "")
	n.all = func(Query) []*resource.Tag { return rs.cfg.State.Catalog().Tables().Tags }
	n.find = func(ref string) (*resource.Tag, bool) { return rs.cfg.State.Catalog().Tag(ref) }
	return n
}

// where keeps the records that a filter is about; "" keeps all.
func where[P any](all []P, want string, of func(P) string) []P {
	if want == "" {
		return all
	}
	var out []P
	for _, r := range all {
		if of(r) == want {
			out = append(out, r)
		}
	}
	return out
}

// idIn gives the id of the record that a filter names by id or name; what is unknown stays,
// and selects nothing.
func idIn[P resource.Record](ref string, find func(string) (P, bool)) string {
	if ref == "" {
		return ""
	}
	if r, ok := find(ref); ok {
		return r.Head().ID
	}
	return ref
}
