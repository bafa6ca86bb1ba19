package records

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

// Asked is the request that a key's policy is explained for. Zero fields are not asked about.
type Asked struct {
	Model    string
	Customer string
	Tags     []string
}

// chain is a key with every level of its requests, as this node knows them.
type chain struct {
	rs     *Records
	who    resource.Principal // whose requests they are; without a key nobody's
	now    resource.Time
	levels []resource.Level
	shown  []client.EffectiveLevel // of each level
	out    *client.Effective
}

// Effective explains what a key may do now and which level binds.
func (rs *Records) Effective(k *resource.Key, asked Asked) *client.Effective {
	c := rs.newChain()
	c.out.KeyID, c.out.Name, c.out.ExpiresAt = k.ID, k.Name, k.ExpiresAt
	c.key(k)
	return c.explain(asked)
}

// EffectiveCustomer explains what an end user may do with whatever key that gives its end users no budget itself. He
// need not have a record.
func (rs *Records) EffectiveCustomer(id string, asked Asked) *client.Effective {
	asked.Customer = id
	return rs.newChain().explain(asked)
}

func (rs *Records) newChain() *chain {
	return &chain{rs: rs, now: resource.At(rs.cfg.Now()), out: &client.Effective{
		Blocks: []client.EffectiveBlock{}, Levels: []client.EffectiveLevel{},
		Denied: []string{}, Groups: []client.EffectiveGroup{}, Budgets: []client.EffectiveBudget{}, Limits: []client.EffectiveLimit{},
		Rules: []client.EffectiveRule{},
	}}
}

// explain adds the levels of the request that is asked about, and what all of them come to.
func (c *chain) explain(asked Asked) *client.Effective {
	c.request(asked)
	c.out.Levels = append(c.out.Levels, c.shown...)
	c.expiry()
	c.models(asked)
	c.routes()
	c.addresses()
	c.objects()
	c.groups()
	c.budgets(asked.Model)
	c.limits()
	c.rules()
	c.out.Allowed = !slices.ContainsFunc(c.out.Blocks, func(b client.EffectiveBlock) bool { return len(b.Models) == 0 })
	return c.out
}

// key adds the levels above a key and the key, in the order in which requests pass them.
func (c *chain) key(k *resource.Key) {
	cat := c.rs.cfg.State.Catalog()
	t, hasTeam := cat.Team(k.TeamID)
	u, hasUser := c.rs.cfg.State.User(k.UserID)
	organization := ""
	if hasTeam {
		organization = t.OrganizationID
	}
	if organization == "" && hasUser {
		organization = u.OrganizationID
	}
	o, ok := cat.Organization(organization)
	c.who = resource.Principal{Key: k, Team: t, Organization: o}
	level(c, resource.HolderOrganization, organization, o, ok, ok && o.Blocked)
	level(c, resource.HolderTeam, k.TeamID, t, hasTeam, hasTeam && t.Blocked)
	p, ok := cat.Project(k.ProjectID)
	level(c, resource.HolderProject, k.ProjectID, p, ok, ok && p.Blocked)
	if hasUser { // one without a record is a label, which limits nothing
		level(c, resource.HolderUser, k.UserID, u, true, u.Blocked)
	}
	if m, ok := c.rs.cfg.State.TeamMember(k.TeamID, k.UserID); ok {
		level(c, resource.HolderMember, m.ID, m, true, false)
	}
	level(c, resource.HolderKey, k.ID, k, true, k.Blocked)
}

// request adds the levels that come with a request: end user, tags, model and the access groups that have it.
func (c *chain) request(asked Asked) {
	cat := c.rs.cfg.State.Catalog()
	c.customer(asked.Customer)
	tags := slices.Clone(asked.Tags)
	for i := range c.levels {
		tags = append(tags, c.levels[i].Policy.Tags...)
	}
	slices.Sort(tags)
	for _, tag := range slices.Compact(tags) {
		if r, ok := cat.Tag(tag); ok {
			level(c, resource.HolderTag, r.ID, r, true, false)
		}
	}
	if m, ok := cat.Resolve(c.aliased(asked.Model)); ok {
		for _, l := range cat.ModelLevels(nil, nil, m) {
			c.shown = append(c.shown, client.EffectiveLevel{Kind: l.Kind, ID: l.ID, Name: l.Name})
			l.Policy = &resource.Policy{}
			c.levels = append(c.levels, l)
		}
	}
}

// customer adds the level of an end user, with the budget that he is given if he has none of his own, record or not.
func (c *chain) customer(id string) {
	if id == "" {
		return
	}
	r, has := c.rs.cfg.State.Customer(id)
	if !has {
		r = nil
	}
	l, none, ok := c.rs.cfg.State.Catalog().CustomerLevel(id, r, &c.who)
	switch {
	case has:
		level(c, resource.HolderCustomer, id, r, true, r.Blocked)
		if ok {
			c.levels[len(c.levels)-1].Allowance = l.Allowance
		}
	case ok && !none:
		l.Policy = &resource.Policy{}
		c.shown = append(c.shown, client.EffectiveLevel{Kind: l.Kind, ID: id})
		c.levels = append(c.levels, l)
	}
	if !ok {
		c.refuse("conclave_catalog_incomplete", client.EffectiveLevel{Kind: resource.HolderCustomer, ID: id}, "the shared budget that end users have here does not exist")
	}
}

// level adds one level, and what refuses requests because of it.
func level[P resource.Record](c *chain, kind, id string, r P, found, blocked bool) {
	if id == "" {
		return
	}
	shown := client.EffectiveLevel{Kind: kind, ID: id, Blocked: blocked, Missing: !found}
	if !found {
		c.shown = append(c.shown, shown)
		c.levels = append(c.levels, resource.Level{Kind: kind, ID: id, Allowance: &resource.Allowance{}, Policy: &resource.Policy{}})
		c.refuse("conclave_catalog_incomplete", shown, "this node does not have the record")
		return
	}
	l, _ := resource.LevelOf(r)
	shown.Name = l.Name
	if l.Policy == nil {
		l.Policy = &resource.Policy{}
	}
	shown.ExpiresAt = l.Policy.ExpiresAt
	c.shown = append(c.shown, shown)
	c.levels = append(c.levels, l)
	if blocked {
		c.refuse(kind+"_blocked", shown, "the "+kind+" is blocked")
	}
}

func (c *chain) refuse(code string, l client.EffectiveLevel, reason string) {
	c.out.Blocks = append(c.out.Blocks, client.EffectiveBlock{Code: code, Level: l, Reason: reason})
}

// expiry names the levels that requests do not pass any more.
func (c *chain) expiry() {
	for i, l := range c.levels {
		if l.Policy.ExpiredAt(c.now) {
			code := l.Kind + "_expired"
			if l.Kind == resource.HolderKey {
				code = "expired_key"
			}
			c.refuse(code, c.shown[i], "the "+l.Kind+" has expired")
		}
	}
}

// aliased is the model that a name stands for: the innermost alias wins.
func (c *chain) aliased(name string) string {
	for _, l := range slices.Backward(c.levels) {
		if to, ok := l.Policy.Aliases[name]; ok {
			return to
		}
	}
	return name
}

// refuser finds the level that refuses a model. The level whose alias led to it may list the
// alias instead.
func (c *chain) refuser(m *resource.Model, asked string) (client.EffectiveLevel, bool) {
	by := -1
	for i := len(c.levels) - 1; i >= 0 && by < 0 && asked != m.Name; i-- {
		if c.levels[i].Policy.Aliases[asked] == m.Name {
			by = i
		}
	}
	cat := c.rs.cfg.State.Catalog()
	for i, l := range c.levels {
		if !cat.Allows(l.Policy, m) && (i != by || !l.Policy.Renames(asked)) {
			return c.shown[i], true
		}
	}
	return client.EffectiveLevel{}, false
}

func (c *chain) models(asked Asked) {
	out := client.EffectiveModels{Allowed: []string{}, Denied: []client.EffectiveModel{}, Aliases: []client.EffectiveAlias{}, Bound: []client.EffectiveLevel{}}
	cat := c.rs.cfg.State.Catalog()
	for _, m := range cat.Tables().Models {
		if by, refused := c.refuser(m, m.Name); refused {
			out.Denied = append(out.Denied, client.EffectiveModel{Model: m.Name, Level: by})
		} else {
			out.Allowed = append(out.Allowed, m.Name)
		}
	}
	seen := map[string]bool{}
	for i, l := range slices.Backward(c.levels) {
		aliases := l.Policy.Aliases
		for _, alias := range sortedKeys(aliases) {
			if !seen[alias] {
				out.Aliases = append(out.Aliases, client.EffectiveAlias{Alias: alias, Model: aliases[alias], Level: c.shown[i]})
			}
			seen[alias] = true
		}
	}
	out.BudgetFallbacks = []client.EffectiveFallback{}
	for i := range c.levels {
		p := c.levels[i].Policy
		if !p.AnyModel() {
			out.Bound = append(out.Bound, c.shown[i])
		}
		for _, model := range sortedKeys(p.BudgetFallbacks) {
			out.BudgetFallbacks = append(out.BudgetFallbacks, client.EffectiveFallback{Model: model, Instead: p.InsteadOf(model), Level: c.shown[i]})
		}
	}
	c.out.Models = out
	if asked.Model == "" {
		return
	}
	m, ok := cat.Resolve(c.aliased(asked.Model))
	if !ok {
		last := client.EffectiveLevel{}
		if n := len(c.shown); n > 0 {
			last = c.shown[n-1]
		}
		c.refuse("model_not_found", last, fmt.Sprintf("there is no model %q", asked.Model))
		return
	}
	if by, refused := c.refuser(m, asked.Model); refused {
		c.refuse("model_access_denied", by, fmt.Sprintf("the models of the %s do not have %q", by.Kind, asked.Model))
	}
}

// bound lists the levels that have a list.
func (c *chain) bound(of func(*resource.Policy) []string) []client.EffectiveLevel {
	out := []client.EffectiveLevel{}
	for i := range c.levels {
		if len(of(c.levels[i].Policy)) > 0 {
			out = append(out, c.shown[i])
		}
	}
	return out
}

// common folds the lists of all levels into what they have in common; covers says whether an
// entry of one list has all that one of another has.
func (c *chain) common(of func(*resource.Policy) []string, covers func(outer, inner string) bool) client.EffectiveList {
	out := client.EffectiveList{Any: true, Allowed: []string{}, Bound: c.bound(of)}
	within := func(inner, outer []string) []string {
		var kept []string
		for _, e := range inner {
			if slices.ContainsFunc(outer, func(o string) bool { return covers(o, e) }) && !slices.Contains(kept, e) {
				kept = append(kept, e)
			}
		}
		return kept
	}
	for i := range c.levels {
		list := of(c.levels[i].Policy)
		switch {
		case len(list) == 0:
		case out.Any:
			out.Any, out.Allowed = false, slices.Clone(list)
		default:
			both := append(within(out.Allowed, list), within(list, out.Allowed)...)
			slices.Sort(both)
			out.Allowed = append([]string{}, slices.Compact(both)...)
		}
	}
	return out
}

func (c *chain) routes() {
	c.out.Routes = c.common(func(p *resource.Policy) []string { return p.Routes }, func(outer, inner string) bool {
		return resource.AllowsRoute([]string{outer}, inner)
	})
	if !c.out.Routes.Any && len(c.out.Routes.Allowed) == 0 {
		c.refuse("route_not_allowed", c.out.Routes.Bound[0], "the routes of the levels have none in common")
	}
	c.out.Passes = c.common(func(p *resource.Policy) []string { return p.PassThrough }, func(outer, inner string) bool {
		return resource.AllowsRoute([]string{outer}, inner)
	})
}

func (c *chain) addresses() {
	c.out.Addresses = c.common(func(p *resource.Policy) []string { return p.AllowedIPs }, func(outer, inner string) bool {
		o, errO := resource.ParseAddresses(outer)
		i, errI := resource.ParseAddresses(inner)
		return errO == nil && errI == nil && containsPrefix(o, i)
	})
	for i := range c.levels {
		c.out.Denied = append(c.out.Denied, c.levels[i].Policy.DeniedIPs...)
	}
	if !c.out.Addresses.Any && len(c.out.Addresses.Allowed) == 0 {
		c.refuse("address_not_allowed", c.out.Addresses.Bound[0], "the addresses of the levels have none in common")
	}
}

// objects shows what the levels say about things beside models.
func (c *chain) objects() {
	out := client.EffectiveObjects{BlockedTools: []string{}, Levels: []client.EffectiveObjectLevel{}}
	list := func(of func(*resource.Objects) []string) client.EffectiveList {
		return c.common(func(p *resource.Policy) []string {
			if p.Objects == nil {
				return nil
			}
			return of(p.Objects)
		}, func(outer, inner string) bool { return resource.AllowsRoute([]string{outer}, inner) })
	}
	out.MCPServers = c.common(c.servers, func(outer, inner string) bool { return resource.AllowsRoute([]string{outer}, inner) })
	out.VectorStores = list(func(o *resource.Objects) []string { return o.VectorStores })
	out.Agents = list(func(o *resource.Objects) []string {
		if len(o.AgentAccessGroup) > 0 {
			return nil
		}
		return o.Agents
	})
	out.SearchTools = list(func(o *resource.Objects) []string { return o.SearchTools })
	out.Skills = list(func(o *resource.Objects) []string { return o.Skills })
	for i := range c.levels {
		if o := c.levels[i].Policy.Objects; o != nil {
			out.BlockedTools = append(out.BlockedTools, o.BlockedTools...)
			out.Levels = append(out.Levels, client.EffectiveObjectLevel{Level: c.shown[i], Objects: *o})
		}
	}
	slices.Sort(out.BlockedTools)
	out.BlockedTools = slices.Compact(out.BlockedTools)
	c.out.Objects = out
}

// servers lists the MCP servers that a level names, by itself and by its access groups; none if it may have any.
func (c *chain) servers(p *resource.Policy) []string {
	o := p.Objects
	if o == nil || len(o.MCPAccessGroups)+len(o.MCPToolsets) > 0 { // which may have any server
		return nil
	}
	list := append(slices.Clone(o.MCPServers), sortedKeys(o.MCPTools)...)
	if len(list) == 0 {
		return nil
	}
	for _, id := range p.AccessGroupIDs {
		if g, ok := c.rs.cfg.State.Catalog().AccessGroup(id); ok {
			list = append(append(list, g.MCPServers...), sortedKeys(g.MCPTools)...)
		}
	}
	return list
}

// groups shows the access groups of all levels.
func (c *chain) groups() {
	for i := range c.levels {
		for _, id := range c.levels[i].Policy.AccessGroupIDs {
			shown := client.EffectiveGroup{Level: c.shown[i], ID: id, Missing: true}
			if g, ok := c.rs.cfg.State.Catalog().AccessGroup(id); ok {
				shown.Name, shown.Models, shown.MCPServers, shown.MCPTools, shown.Missing = g.Name, g.Models, g.MCPServers, g.MCPTools, false
			}
			c.out.Groups = append(c.out.Groups, shown)
		}
	}
}

func containsPrefix(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// budgets lists the budgets of all levels with what is left of each, and what refuses
// requests because nothing is.
func (c *chain) budgets(model string) {
	var all []heldBudget
	cat := c.rs.cfg.State.Catalog()
	for i := range c.levels {
		a := c.levels[i].Allowance
		shared, has := cat.Budget(a.BudgetID)
		if a.BudgetID != "" && !has {
			c.refuse("conclave_catalog_incomplete", c.shown[i], "this node does not have the shared budget")
		}
		for j := range a.Budgets {
			all = append(all, c.budget(i, &a.Budgets[j], ""))
		}
		if !has {
			continue
		}
		terms := shared.All()
		for j := range terms {
			all = append(all, c.budget(i, &terms[j], shared.Name))
		}
	}
	slices.SortStableFunc(all, func(a, b heldBudget) int {
		return cmp.Or(strings.Compare(string(a.shown.Unit), string(b.shown.Unit)), cmp.Compare(a.left, b.left))
	})
	for i := range all {
		b := &all[i].shown
		b.Tightest = i == 0 || b.Unit != all[i-1].shown.Unit
		c.out.Budgets = append(c.out.Budgets, *b)
		if all[i].left > 0 || model != "" && !resource.AllowsModel(b.Models, model) {
			continue
		}
		c.out.Blocks = append(c.out.Blocks, client.EffectiveBlock{
			Code: "budget_exceeded", Level: b.Level, Models: b.Models, Until: b.ResetsAt, Budget: b,
			Reason: fmt.Sprintf("the budget %s of the %s is spent", b.Budget, b.Level.Kind),
		})
	}
}

type heldBudget struct {
	shown client.EffectiveBudget
	left  resource.Money
}

// budget shows one budget of a level in its window of now, which need not be open yet.
func (c *chain) budget(at int, t *resource.Terms, shared string) heldBudget {
	l, unit, limit := c.levels[at], t.Unit(), t.Limit(c.now)
	if id, ok := resource.GivenBy(t.Name); ok && shared == "" {
		if of, ok := c.rs.cfg.State.Catalog().Budget(id); ok {
			shared = of.Name
		}
	}
	b := client.EffectiveBudget{Level: c.shown[at], Models: t.Models, Shared: shared}
	b.Budget, b.Unit, b.Limit = t.Name, unit, client.AmountOf(limit, unit)
	if w, err := t.Window(c.now.Std()); err == nil {
		b.StartsAt, b.ResetsAt = w.Start, w.End
	}
	left := limit
	for _, a := range c.rs.cfg.State.Accounts(l.Kind + "/" + l.ID) {
		if _, _, name, _ := a.ID.Split(); name == t.Name && a.Window.Start == b.StartsAt {
			b.Account = account(l.Kind+"/"+l.ID, &a)
			left = max(0, a.Limit-a.Settled-a.Presumed)
		}
	}
	b.Left = client.AmountOf(left, unit)
	return heldBudget{b, left}
}

// limits finds the lowest limit of each kind: of all requests, and of those of single models, tags and MCP servers.
func (c *chain) limits() {
	lowest := map[client.EffectiveLimit]client.EffectiveLimit{}
	note := func(at int, of client.EffectiveLimit, l resource.Limits) {
		for _, f := range []struct {
			name string
			v    *int64
		}{{"rpm", l.RPM}, {"tpm", l.TPM}, {"input_tpm", l.InputTPM}, {"output_tpm", l.OutputTPM}, {"parallel", l.Parallel}} {
			key := of
			key.Limit = f.name
			if have, ok := lowest[key]; f.v != nil && (!ok || *f.v < have.Value) {
				low := key
				low.Value, low.Level = *f.v, c.shown[at]
				lowest[key] = low
			}
		}
	}
	for i := range c.levels {
		shared, _ := c.rs.cfg.State.Catalog().Budget(c.levels[i].Allowance.BudgetID)
		a := c.levels[i].Allowance.Within(shared)
		note(i, client.EffectiveLimit{}, a.Limits)
		for model, l := range a.ModelLimits {
			note(i, client.EffectiveLimit{Model: model}, l)
		}
		for tag, l := range c.levels[i].Policy.TagLimits {
			note(i, client.EffectiveLimit{Tag: tag}, l)
		}
		for server, l := range c.levels[i].Policy.MCPLimits {
			note(i, client.EffectiveLimit{MCPServer: server}, l)
		}
	}
	for _, l := range lowest { // sorted below
		c.out.Limits = append(c.out.Limits, l)
	}
	slices.SortFunc(c.out.Limits, func(a, b client.EffectiveLimit) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.Tag, b.Tag), strings.Compare(a.MCPServer, b.MCPServer), strings.Compare(a.Limit, b.Limit))
	})
	for _, l := range c.out.Limits {
		if l.Value == 0 && l.Tag == "" && l.MCPServer == "" { // what carries the tag, or calls the server, is refused alone
			block := client.EffectiveBlock{Code: "rate_limit_exceeded", Level: l.Level, Reason: "the limit " + l.Limit + " of the " + l.Level.Kind + " is 0"}
			if l.Model != "" {
				block.Models = []string{l.Model}
			}
			c.out.Blocks = append(c.out.Blocks, block)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
