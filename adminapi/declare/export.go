package declare

import (
	"cmp"
	"slices"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// Export is the running configuration, whoever owns it, as a file that changes nothing if it
// is planned. Of secrets it has fingerprints. Records are by name.
func Export(state State) File {
	x := &exporter{planner: planner{cfg: Config{State: state}, cat: state.Catalog(), names: map[string]string{}}}
	t := x.cat.Tables()
	d := File{
		Budgets: declared(t.Budgets), Plugins: declared(t.Plugins), Prompts: declared(t.Prompts), Settings: declared(t.Settings),
		AccessGroups: x.accessGroups(),
	}
	for _, c := range byLabel(t.Credentials) {
		out := Credential{Record: bare(c), Sealed: printOf(c.APIKey), Secrets: printsOf(c.Secrets)}
		out.Record.APIKey, out.Record.Secrets = nil, nil
		d.Credentials = append(d.Credentials, out)
	}
	for _, s := range byLabel(t.MCPServers) {
		out := MCPServer{Record: bare(s), Credential: x.name("credential_id", s.CredentialID), Secrets: printsOf(s.Secrets)}
		out.Record.CredentialID, out.Record.Secrets = "", nil
		d.MCPServers = append(d.MCPServers, out)
	}
	for _, g := range byLabel(t.Guardrails) {
		out := Guardrail{Guardrail: bare(g), Secrets: printsOf(g.Secrets)}
		out.Guardrail.Secrets = nil
		d.Guardrails = append(d.Guardrails, out)
	}
	for _, c := range byLabel(t.Callbacks) {
		out := Callback{Record: bare(c), Secrets: printsOf(c.Secrets)}
		out.Record.Secrets = nil
		d.Callbacks = append(d.Callbacks, out)
	}
	for _, c := range byLabel(t.SecretSources) {
		out := SecretSource{Record: bare(c), Secrets: printsOf(c.Secrets)}
		out.Record.Secrets = nil
		d.SecretSources = append(d.SecretSources, out)
	}
	for _, c := range byLabel(t.Auths) {
		out := Auth{Record: bare(c), Secrets: printsOf(c.Secrets)}
		out.Record.Secrets = nil
		d.Auths = append(d.Auths, out)
	}
	for _, c := range byLabel(t.RouterFilters) {
		out := RouterFilter{Record: bare(c), Secrets: printsOf(c.Secrets)}
		out.Record.Secrets = nil
		d.RouterFilters = append(d.RouterFilters, out)
	}
	for _, v := range t.Variables {
		if d.Environment == nil {
			d.Environment = map[string]Secret{}
		}
		d.Environment[v.ID] = Secret{Sealed: printOf(v.Value)}
	}
	for _, e := range byLabel(t.PassThrough) {
		out := PassThrough{Record: bare(e), Secrets: printsOf(e.Secrets)}
		out.Record.Secrets = nil
		d.PassThrough = append(d.PassThrough, out)
	}
	for _, m := range byLabel(t.Models) {
		d.Models = append(d.Models, x.model(m))
	}
	x.holders(&d)
	for _, k := range byLabel(pages(state.Keys)) {
		d.Keys = append(d.Keys, x.key(k))
	}
	return d
}

// exporter gives names to what is referred to.
type exporter struct{ planner }

func (x *exporter) name(field, id string) string {
	if id == "" {
		return ""
	}
	return x.nameOf(field, id)
}

// nameGroups puts names in the place of the ids of access groups.
func (x *exporter) nameGroups(p *resource.Policy) {
	named := slices.Clone(p.AccessGroupIDs)
	for i, id := range named {
		named[i] = x.nameOf("access_group_ids", id)
	}
	p.AccessGroupIDs = named
}

// bare is a copy of a record that is called by its name, without what the server writes.
func bare[R any, P interface {
	*R
	resource.Record
}](r P,
) R {
	out := *r
	*P(&out).Head() = resource.Meta{Owner: resource.OwnerFile}
	return out
}

// natural is bare of a record that is called by its id.
func natural[R any, P interface {
	*R
	resource.Record
}](r P,
) R {
	out := bare[R, P](r)
	P(&out).Head().ID = r.Head().ID
	return out
}

// declared are records that refer to nothing.
func declared[R any, P interface {
	*R
	resource.Record
}](all []P,
) (out []R) {
	for _, r := range byLabel(all) {
		if r.Label() == "" {
			out = append(out, natural[R, P](r))
		} else {
			out = append(out, bare[R, P](r))
		}
	}
	return out
}

// byLabel is the records by what people call them.
func byLabel[P resource.Record](all []P) []P {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b P) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	return out
}

// pages are the records of all pages.
func pages[P any](page func(fsm.ListQuery) ([]P, string, int)) (out []P) {
	q := fsm.ListQuery{Limit: 500}
	for {
		all, next, _ := page(q)
		out = append(out, all...)
		if q.Cursor = next; next == "" {
			return out
		}
		q.Limit = min(q.Limit*8, 32_000)
	}
}

func printOf(s *resource.Sealed) string {
	if s == nil {
		return ""
	}
	return s.Fingerprint
}

// printsOf are the fingerprints of secrets by name.
func printsOf(all map[string]*resource.Sealed) map[string]Secret {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]Secret, len(all))
	for name, s := range all {
		out[name] = Secret{Sealed: printOf(s)}
	}
	return out
}

func (x *exporter) accessGroups() (all []AccessGroup) {
	for _, g := range byLabel(x.cat.Tables().AccessGroups) {
		out := AccessGroup{AccessGroup: bare(g), Budget: x.name("budget_id", g.BudgetID)}
		out.BudgetID = ""
		all = append(all, out)
	}
	return all
}

func (x *exporter) model(m *resource.Model) Model {
	out := Model{Record: bare(m), Budget: x.name("budget_id", m.BudgetID)}
	out.Record.BudgetID = ""
	deployments := slices.Clone(x.cat.Deployments(m.ID))
	slices.SortStableFunc(deployments, func(a, b *resource.Deployment) int { return cmp.Compare(cmp.Or(a.Name, a.ID), cmp.Or(b.Name, b.ID)) })
	for _, d := range deployments {
		one := Deployment{
			Record: bare(d), Credential: x.name("credential_id", d.CredentialID), Budget: x.name("budget_id", d.BudgetID), Sealed: printOf(d.APIKey), Secrets: printsOf(d.Secrets),
		}
		one.Record.Name = cmp.Or(d.Name, d.ID)
		one.Record.ModelID, one.Record.CredentialID, one.Record.BudgetID, one.Record.APIKey = "", "", "", nil
		one.Record.Secrets = nil
		out.Deployments = append(out.Deployments, one)
	}
	return out
}

func (x *exporter) holders(d *File) {
	t := x.cat.Tables()
	for _, o := range byLabel(t.Organizations) {
		out := Organization{Record: bare(o), Budget: x.name("budget_id", o.BudgetID)}
		out.Record.BudgetID, out.Record.Blocked = "", false
		x.nameGroups(&out.Record.Policy)
		d.Organizations = append(d.Organizations, out)
	}
	for _, team := range byLabel(t.Teams) {
		d.Teams = append(d.Teams, x.team(team))
	}
	for _, p := range byLabel(t.Projects) {
		out := Project{Record: bare(p), Team: x.name("team_id", p.TeamID), Budget: x.name("budget_id", p.BudgetID)}
		out.Record.TeamID, out.Record.BudgetID, out.Record.Blocked = "", "", false
		x.nameGroups(&out.Record.Policy)
		d.Projects = append(d.Projects, out)
	}
	for _, u := range byID(pages(x.cfg.State.Users)) {
		out := User{Record: natural(u), Organization: x.name("organization_id", u.OrganizationID), Budget: x.name("budget_id", u.BudgetID)}
		out.Record.OrganizationID, out.Record.BudgetID, out.Record.Blocked = "", "", false
		x.nameGroups(&out.Record.Policy)
		d.Users = append(d.Users, out)
	}
	for _, c := range byID(pages(x.cfg.State.Customers)) {
		out := Customer{Record: natural(c), Budget: x.name("budget_id", c.BudgetID)}
		out.Record.BudgetID, out.Record.Blocked = "", false
		x.nameGroups(&out.Record.Policy)
		d.Customers = append(d.Customers, out)
	}
	for _, tag := range byID(t.Tags) {
		out := Tag{Record: natural(tag), Budget: x.name("budget_id", tag.BudgetID)}
		out.Record.BudgetID = ""
		x.nameGroups(&out.Record.Policy)
		d.Tags = append(d.Tags, out)
	}
}

func byID[P resource.Record](all []P) []P {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b P) int { return cmp.Compare(a.Head().ID, b.Head().ID) })
	return out
}

func (x *exporter) team(t *resource.Team) Team {
	out := Team{Record: bare(t), Organization: x.name("organization_id", t.OrganizationID), Budget: x.name("budget_id", t.BudgetID)}
	out.Record.Name = nameOf(t)
	out.Record.OrganizationID, out.Record.BudgetID, out.Record.Blocked = "", "", false
	x.nameGroups(&out.Record.Policy)
	for _, m := range byID(x.cfg.State.TeamMembers(t.ID)) {
		one := Member{Record: bare(m), Budget: x.name("budget_id", m.BudgetID)}
		one.Record.TeamID, one.Record.BudgetID = "", ""
		x.nameGroups(&one.Record.Policy)
		out.Members = append(out.Members, one)
	}
	return out
}

func (x *exporter) key(k *resource.Key) Key {
	out := Key{
		Record: bare(k), Team: x.name("team_id", k.TeamID), Project: x.name("project_id", k.ProjectID), Budget: x.name("budget_id", k.BudgetID),
		RotationSealed: printOf(k.RotationKey),
	}
	r := &out.Record
	r.Name = nameOf(k)
	r.TeamID, r.ProjectID, r.BudgetID, r.Blocked, r.RotationKey = "", "", "", false, nil
	x.nameGroups(&r.Policy)
	r.OldHashes, r.RotateAt, r.RotatedAt, r.Next, r.Turns, r.StoredIn = nil, 0, 0, nil, nil, ""
	return out
}
