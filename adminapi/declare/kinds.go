package declare

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/provider/modelfile"
	"github.com/conclave-llm/conclave/resource"
)

// idOf gives the id of a record, "" for none.
func idOf[P resource.Record](r P, ok bool) string {
	if !ok {
		return ""
	}
	return r.Head().ID
}

// byName finds a record by its name alone: in a file ids mean nothing, but for what has no
// name.
func byName[P resource.Record](all []P, name string) (P, bool) {
	var none P
	for _, r := range all {
		if r.Label() == name || r.Label() == "" && r.Head().ID == name {
			return r, true
		}
	}
	return none, false
}

func (p *planner) plugins(d *File) error {
	for i := range d.Plugins {
		r := d.Plugins[i]
		now, _ := byName(p.cat.Tables().Plugins, r.Name)
		trusted := func() error { return p.trust(d).CheckTrust(&r) }
		if err := plan(p, "plugin", "plugin", r.Name, &r, now, trusted, records.PutPlugin); err != nil {
			return err
		}
	}
	return nil
}

// registered lists the plugins that there will be: the file's come before those of the cluster.
func (p *planner) registered(d *File) []*resource.Plugin {
	var all []*resource.Plugin
	for i := range d.Plugins {
		all = append(all, &d.Plugins[i])
	}
	return append(all, p.cat.Tables().Plugins...)
}

// trust is the settings with what the file says of plugins' publishers.
func (p *planner) trust(d *File) *resource.Settings {
	set := *p.cat.Settings()
	for _, s := range d.Settings {
		if s.ID == resource.SettingPluginTrust {
			_ = set.Set(s.ID, s.Value) // what is wrong with it is said of the setting
		}
	}
	return &set
}

func (p *planner) budgets(d *File) error {
	for i := range d.Budgets {
		r := d.Budgets[i]
		now, _ := byName(p.cat.Tables().Budgets, r.Name)
		if err := plan(p, "budget", "budget", r.Name, &r, now, nil, records.PutBudget); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) accessGroups(d *File) error {
	for i := range d.AccessGroups {
		r := d.AccessGroups[i].AccessGroup
		now, _ := byName(p.cat.Tables().AccessGroups, r.Name)
		if err := planHolder(p, d, "access_group", "ag", r.Name, &r, now, d.AccessGroups[i].Budget, nil, records.PutAccessGroup); err != nil {
			return err
		}
	}
	return nil
}

// referGroups puts ids in the place of the names of access groups.
func (p *planner) referGroups(r resource.Record) error {
	l, _ := resource.LevelOf(r)
	if l.Policy == nil || len(l.Policy.AccessGroupIDs) == 0 {
		return nil
	}
	ids := make([]string, len(l.Policy.AccessGroupIDs))
	for i, name := range l.Policy.AccessGroupIDs {
		stored, ok := byName(p.cat.Tables().AccessGroups, name)
		id, err := p.refer("access_group", name, idOf(stored, ok))
		if err != nil {
			return err
		}
		ids[i] = id
	}
	l.Policy.AccessGroupIDs = ids
	return nil
}

// sharedBudget resolves a shared budget by name.
func (p *planner) sharedBudget(d *File, name string) (id string, shared *resource.Budget, err error) {
	stored, ok := byName(p.cat.Tables().Budgets, name)
	if id, err = p.refer("budget", name, idOf(stored, ok)); err != nil || id == "" {
		return "", nil, err
	}
	for i := range d.Budgets {
		if b := d.Budgets[i]; b.Name == name {
			b.Canonicalize()
			return id, &b, nil
		}
	}
	return id, stored, nil
}

func (p *planner) credentials(d *File) error {
	for i := range d.Credentials {
		r := d.Credentials[i].Record
		now, ok := byName(p.cat.Tables().Credentials, r.Name)
		fill := func() (err error) {
			var old *resource.Sealed
			var oldNamed map[string]*resource.Sealed
			if err := records.CheckWay(&r.Egress, p.cfg.Files); err != nil && !errors.Is(err, modelfile.ErrUnread) {
				return err
			}
			key, named := Secret{Text: d.Credentials[i].APIKey, Sealed: d.Credentials[i].Sealed}, d.Credentials[i].Secrets
			if ok {
				old, oldNamed = now.APIKey, now.Secrets
			}
			if ok && now.Provider == r.Provider {
				if key, named, err = p.signIns(key, named, "credential", r.ID, old, oldNamed); err != nil {
					return err
				}
			}
			if ok && (key.Sealed != "" || anySealed(named)) {
				if err := records.CheckMove(records.AddressOfCredential(now), records.AddressOfCredential(&r)); err != nil {
					return err
				}
			}
			if r.Secrets, err = p.sealNamed(named, "credential", r.ID, oldNamed); err != nil {
				return err
			}
			r.APIKey, err = p.seal(key.Text, key.Sealed, "credential", r.ID, "api_key", old)
			return err
		}
		if err := plan(p, "credential", "cred", r.Name, &r, now, fill, records.PutCredential); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) models(d *File) error {
	for i := range d.Models {
		r := d.Models[i].Record
		now, _ := p.cat.Model(r.Name)
		if err := planHolder(p, d, "model", "model", r.Name, &r, now, d.Models[i].Budget, nil, records.PutModel); err != nil {
			return err
		}
		for j := range d.Models[i].Deployments {
			if err := p.deployment(d, &r, &d.Models[i].Deployments[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) deployment(f *File, m *resource.Model, d *Deployment) error {
	r := d.Record
	name := m.Name + "/" + r.Name
	if r.Name == "" {
		return p.wrong("deployment", name, &resource.Invalid{Field: "name", Reason: "a deployment in a file has a name"})
	}
	var now *resource.Deployment
	for _, have := range p.cat.Deployments(m.ID) {
		if have.Name == r.Name {
			now = have
		}
		if have.Name == "" && have.ID == r.Name {
			now, r.Name = have, ""
			break
		}
	}
	fill := func() (err error) {
		r.ModelID = m.ID
		if err := records.CheckFiles(&r, p.cfg.Files); err != nil && !errors.Is(err, modelfile.ErrUnread) {
			return err
		}
		stored, ok := byName(p.cat.Tables().Credentials, d.Credential)
		if r.CredentialID, err = p.refer("credential", d.Credential, idOf(stored, ok)); err != nil {
			return err
		}
		if err := p.sealDeployment(d, now, &r); err != nil {
			return err
		}
		return records.CheckPluginProvider(p.registered(f), &r, credentialIn(f, d.Credential, stored))
	}
	return planHolder(p, f, "deployment", "dep", name, &r, now, d.Budget, fill, records.PutDeployment)
}

// sealDeployment seals the secrets of a deployment; now is the stored one, nil for none.
func (p *planner) sealDeployment(d *Deployment, now, next *resource.Deployment) (err error) {
	var old *resource.Sealed
	var oldNamed map[string]*resource.Sealed
	key, named := Secret{Text: d.APIKey, Sealed: d.Sealed}, d.Secrets
	if now != nil {
		old, oldNamed = now.APIKey, now.Secrets
	}
	if now != nil && now.Provider == next.Provider {
		if key, named, err = p.signIns(key, named, "deployment", next.ID, old, oldNamed); err != nil {
			return err
		}
	}
	if key.Sealed != "" || anySealed(named) {
		if err := checkMoves(now, next); err != nil {
			return err
		}
	}
	if next.Secrets, err = p.sealNamed(named, "deployment", next.ID, oldNamed); err != nil {
		return err
	}
	next.APIKey, err = p.seal(key.Text, key.Sealed, "deployment", next.ID, "api_key", old)
	return err
}

// checkMoves refuses a deployment whose stored secrets would go somewhere else than they did; now is the stored
// one, nil for none.
func checkMoves(now, next *resource.Deployment) error {
	if now == nil {
		return nil
	}
	if err := records.CheckMove(records.AddressOf(now), records.AddressOf(next)); err != nil {
		return err
	}
	return records.CheckProviderMove(now, next)
}

// credentialIn is the credential of the name as it will be, with the names of its secrets alone; stored is what is
// there, nil for none.
func credentialIn(f *File, name string, stored *resource.Credential) *resource.Credential {
	for i := range f.Credentials {
		if c := &f.Credentials[i]; c.Record.Name == name {
			next := c.Record
			next.Secrets = make(map[string]*resource.Sealed, len(c.Secrets))
			for field := range c.Secrets {
				next.Secrets[field] = &resource.Sealed{}
			}
			if c.APIKey != "" || c.Sealed != "" {
				next.APIKey = &resource.Sealed{}
			}
			return &next
		}
	}
	return stored
}

func (p *planner) guardrails(d *File) error {
	for i := range d.Guardrails {
		g := &d.Guardrails[i]
		r := g.Guardrail
		now, ok := byName(p.cat.Tables().Guardrails, r.Name)
		fill := func() (err error) {
			var old map[string]*resource.Sealed
			if ok {
				old = now.Secrets
			}
			if ok && anySealed(g.Secrets) {
				if err := records.CheckPluginMove(now.Plugin, now.Config, r.Plugin, r.Config); err != nil {
					return err
				}
			}
			if r.Config, r.Secrets, err = p.sealConfig(d, "guardrail", r.ID, r.Plugin, r.Config, g.Secrets, old); err != nil {
				return err
			}
			return schema.CheckGuardrail(p.registered(d), &r)
		}
		if err := plan(p, "guardrail", "guard", r.Name, &r, now, fill, records.PutGuardrail); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) secretSources(d *File) error {
	for i := range d.SecretSources {
		c := &d.SecretSources[i]
		r := c.Record
		now, ok := byName(p.cat.Tables().SecretSources, r.Name)
		fill := func() (err error) {
			var old map[string]*resource.Sealed
			if ok {
				old = now.Secrets
			}
			if ok && anySealed(c.Secrets) {
				if err := records.CheckPluginMove(now.Plugin, now.Config, r.Plugin, r.Config); err != nil {
					return err
				}
			}
			if r.Config, r.Secrets, err = p.sealConfig(d, "secret_source", r.ID, r.Plugin, r.Config, c.Secrets, old); err != nil {
				return err
			}
			return schema.CheckSecretSource(p.registered(d), &r)
		}
		if err := plan(p, "secret_source", "src", r.Name, &r, now, fill, records.PutSecretSource); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) auths(d *File) error {
	for i := range d.Auths {
		c := &d.Auths[i]
		r := c.Record
		now, ok := byName(p.cat.Tables().Auths, r.Name)
		fill := func() error {
			var old *resource.PluginUse
			if ok {
				old = &now.PluginUse
			}
			return p.pluginUse(d, "auth", r.ID, &r.PluginUse, old, c.Secrets)
		}
		if err := plan(p, "auth", "auth", r.Name, &r, now, fill, records.PutAuth); err != nil {
			return err
		}
	}
	return nil
}

// pluginUse seals the secrets of a record that uses a plugin, and checks the plugin's configuration; now is
// the stored one, nil for none.
func (p *planner) pluginUse(d *File, kind, id string, next, now *resource.PluginUse, secrets map[string]Secret) (err error) {
	var old map[string]*resource.Sealed
	if now != nil {
		old = now.Secrets
		if anySealed(secrets) {
			if err := records.CheckPluginMove(now.Plugin, now.Config, next.Plugin, next.Config); err != nil {
				return err
			}
		}
	}
	if next.Config, next.Secrets, err = p.sealConfig(d, kind, id, next.Plugin, next.Config, secrets, old); err != nil {
		return err
	}
	return schema.CheckUse(p.registered(d), kind, next)
}

func (p *planner) routerFilters(d *File) error {
	for i := range d.RouterFilters {
		c := &d.RouterFilters[i]
		r := c.Record
		now, ok := byName(p.cat.Tables().RouterFilters, r.Name)
		fill := func() error {
			var old *resource.PluginUse
			if ok {
				old = &now.PluginUse
			}
			return p.pluginUse(d, "router_filter", r.ID, &r.PluginUse, old, c.Secrets)
		}
		if err := plan(p, "router_filter", "rf", r.Name, &r, now, fill, records.PutRouterFilter); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) callbacks(d *File) error {
	for i := range d.Callbacks {
		c := &d.Callbacks[i]
		r := c.Record
		now, ok := byName(p.cat.Tables().Callbacks, r.Name)
		fill := func() (err error) {
			var old map[string]*resource.Sealed
			if ok {
				old = now.Secrets
			}
			if ok && anySealed(c.Secrets) {
				if err := records.CheckPluginMove(now.Plugin, now.Config, r.Plugin, r.Config); err != nil {
					return err
				}
			}
			if r.Config, r.Secrets, err = p.sealConfig(d, "callback", r.ID, r.Plugin, r.Config, c.Secrets, old); err != nil {
				return err
			}
			return schema.CheckCallback(p.registered(d), &r)
		}
		if err := plan(p, "callback", "cb", r.Name, &r, now, fill, records.PutCallback); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) mcpServers(d *File) error {
	for i := range d.MCPServers {
		s := &d.MCPServers[i]
		r := s.Record
		now, ok := byName(p.cat.Tables().MCPServers, r.Name)
		fill := func() (err error) {
			var old map[string]*resource.Sealed
			if ok {
				old = now.Secrets
			}
			if ok && anySealed(s.Secrets) {
				if err := records.CheckMCPMove(&now.MCPUpstream, &r.MCPUpstream); err != nil {
					return err
				}
			}
			if err := records.CheckMCPPrefix(p.cat.Tables().MCPServers, &r); err != nil {
				return err
			}
			cred, found := byName(p.cat.Tables().Credentials, s.Credential)
			if r.CredentialID, err = p.refer("credential", s.Credential, idOf(cred, found)); err != nil {
				return err
			}
			r.Secrets, err = p.sealNamed(s.Secrets, "mcp_server", r.ID, old)
			return err
		}
		if err := plan(p, "mcp_server", "mcp", r.Name, &r, now, fill, records.PutMCPServer); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) environment(d *File) error {
	for _, name := range slices.Sorted(maps.Keys(d.Environment)) {
		given := d.Environment[name]
		r := resource.Variable{Meta: resource.Meta{ID: name}}
		now, _ := p.cat.Variable(name)
		fill := func() (err error) {
			var old *resource.Sealed
			if now != nil {
				old = now.Value
			}
			r.Value, err = p.seal(given.Text, given.Sealed, "variable", name, "value", old)
			return err
		}
		if err := plan(p, "variable", "", name, &r, now, fill, records.PutVariable); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) passThrough(d *File) error {
	for i := range d.PassThrough {
		e := &d.PassThrough[i]
		r := e.Record
		now, ok := byName(p.cat.Tables().PassThrough, r.Name)
		fill := func() (err error) {
			var old map[string]*resource.Sealed
			if ok {
				old = now.Secrets
			}
			if ok && anySealed(e.Secrets) {
				if err := records.CheckPassThroughMove(now, &r); err != nil {
					return err
				}
			}
			if err := records.CheckPassThroughPath(p.cat.Tables().PassThrough, &r); err != nil {
				return err
			}
			r.Secrets, err = p.sealNamed(e.Secrets, "pass_through_endpoint", r.ID, old)
			return err
		}
		if err := plan(p, "pass_through_endpoint", "pt", r.Name, &r, now, fill, records.PutPassThrough); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) prompts(d *File) error {
	for i := range d.Prompts {
		r := d.Prompts[i]
		now, _ := byName(p.cat.Tables().Prompts, r.Name)
		fill := func() error {
			if now != nil {
				r.Last = max(r.Last, now.Last)
			}
			r.Canonicalize() // gives new versions their numbers
			return r.Continue(now)
		}
		if err := plan(p, "prompt", "prompt", r.Name, &r, now, fill, records.PutPrompt); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) settings(d *File) error {
	for i := range d.Settings {
		r := d.Settings[i]
		now := p.setting(r.ID)
		if err := plan(p, "setting", "", r.ID, &r, now, nil, records.PutSetting); err != nil {
			return err
		}
	}
	return nil
}

// setting finds a setting by its id, which is its name.
func (p *planner) setting(id string) *resource.Setting {
	for _, s := range p.cat.Tables().Settings {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// deletions plans the end of what a file owned and declares no more, what refers to others
// first. A model's deployments go with it.
func (p *planner) deletions() {
	t := p.cat.Tables()
	dropAll(p, "key", p.cfg.State.Keys, func(id string) fsm.Command { return fsm.DeleteKey{ID: id} })
	dropAll(p, "customer", p.cfg.State.Customers, func(id string) fsm.Command { return fsm.DeleteCustomer{ID: id} })
	for _, team := range t.Teams {
		drop(p, "member", p.cfg.State.TeamMembers(team.ID), func(id string) fsm.Command { return fsm.DeleteTeamMember{ID: id} })
	}
	dropAll(p, "user", p.cfg.State.Users, func(id string) fsm.Command { return fsm.DeleteUser{ID: id} })
	drop(p, "tag", t.Tags, func(id string) fsm.Command { return fsm.DeleteTag{ID: id} })
	drop(p, "deployment", p.orphans(), func(id string) fsm.Command { return fsm.DeleteDeployment{ID: id} })
	drop(p, "model", t.Models, func(id string) fsm.Command { return fsm.DeleteModel{ID: id} })
	drop(p, "project", t.Projects, func(id string) fsm.Command { return fsm.DeleteProject{ID: id} })
	drop(p, "team", t.Teams, func(id string) fsm.Command { return fsm.DeleteTeam{ID: id} })
	drop(p, "organization", t.Organizations, func(id string) fsm.Command { return fsm.DeleteOrganization{ID: id} })
	drop(p, "access_group", t.AccessGroups, func(id string) fsm.Command { return fsm.DeleteAccessGroup{ID: id} })
	drop(p, "pass_through_endpoint", t.PassThrough, func(id string) fsm.Command { return fsm.DeletePassThrough{ID: id} })
	drop(p, "prompt", t.Prompts, func(id string) fsm.Command { return fsm.DeletePrompt{ID: id} })
	drop(p, "mcp_server", t.MCPServers, func(id string) fsm.Command { return fsm.DeleteMCPServer{ID: id} })
	drop(p, "credential", t.Credentials, func(id string) fsm.Command { return fsm.DeleteCredential{ID: id} })
	drop(p, "setting", t.Settings, func(id string) fsm.Command { return fsm.DeleteSetting{ID: id} })
	drop(p, "budget", t.Budgets, func(id string) fsm.Command { return fsm.DeleteBudget{ID: id} })
	drop(p, "guardrail", t.Guardrails, func(id string) fsm.Command { return fsm.DeleteGuardrail{ID: id} })
	drop(p, "callback", t.Callbacks, func(id string) fsm.Command { return fsm.DeleteCallback{ID: id} })
	drop(p, "secret_source", t.SecretSources, func(id string) fsm.Command { return fsm.DeleteSecretSource{ID: id} })
	drop(p, "router_filter", t.RouterFilters, func(id string) fsm.Command { return fsm.DeleteRouterFilter{ID: id} })
	drop(p, "auth", t.Auths, func(id string) fsm.Command { return fsm.DeleteAuth{ID: id} })
	drop(p, "plugin", t.Plugins, func(id string) fsm.Command { return fsm.DeletePlugin{ID: id} })
	drop(p, "variable", t.Variables, func(id string) fsm.Command { return fsm.DeleteVariable{ID: id} })
}

// dropAll is drop of the records of all pages.
func dropAll[P resource.Record](p *planner, kind string, page func(fsm.ListQuery) ([]P, string, int), cmd func(id string) fsm.Command) {
	q := fsm.ListQuery{Limit: 500}
	for {
		all, next, _ := page(q)
		drop(p, kind, all, cmd)
		if q.Cursor = next; next == "" {
			return
		}
	}
}

// orphans are the deployments whose model stays.
func (p *planner) orphans() []*resource.Deployment {
	var out []*resource.Deployment
	for _, d := range p.cat.Tables().Deployments {
		m, ok := p.cat.ModelByID(d.ModelID)
		if ok && (p.kept["model/"+m.ID] || m.Owner != resource.OwnerFile) {
			out = append(out, d)
		}
	}
	return out
}

func drop[P resource.Record](p *planner, kind string, all []P, cmd func(id string) fsm.Command) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b P) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	for _, r := range all {
		h := r.Head()
		if h.Owner != resource.OwnerFile || p.kept[kind+"/"+h.ID] {
			continue
		}
		p.cmds = append(p.cmds, cmd(h.ID))
		p.changes = append(p.changes, Change{Action: "delete", Kind: kind, Name: nameOf(r), ID: h.ID})
		p.reads = append(p.reads, h.Version)
	}
}

// nameOf is what people call a record.
func nameOf(r resource.Record) string { return cmp.Or(r.Label(), r.Head().ID) }
