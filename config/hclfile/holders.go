package hclfile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
	"github.com/conclave-llm/conclave/resource/shape"
)

// policy reads what the blocks of all that can be limited have beside their own.
func (d *decoder) policy(body hcl.Body) (p resource.Policy, sharedBudget string) {
	var in policyBlock
	if !d.body(body, &in) {
		return p, ""
	}
	p = resource.Policy{
		Allowance: resource.Allowance{Budgets: d.allTerms(in.Budgets), Limits: in.Limit.limits(), ModelLimits: d.modelLimits(in.ModelLimits, body)},
		Models:    in.Models, Aliases: in.Aliases, Routes: in.Routes, AllowedIPs: in.AllowedIPs, DeniedIPs: in.DeniedIPs,
		EnforcedParams: in.EnforcedParams, Guardrails: in.Guardrails, Callbacks: in.Callbacks, Tags: in.Tags,
		LogContent: in.LogContent, MaxRequestMB: in.MaxRequestMB, MaxResponseMB: in.MaxResponseMB, Metadata: d.json(in.Metadata),
		ExpiresAt: d.time(in.ExpiresAt),
	}
	if s := in.Sessions; s != nil {
		p.Sessions = &resource.SessionLimits{
			Budget: d.amount(s.Budget), Iterations: s.Iterations, RPM: s.RPM, TPM: s.TPM, RequireTraceID: s.RequireTraceID,
		}
	}
	return p, in.SharedBudget
}

func (l *limitBlock) limits() resource.Limits {
	if l == nil {
		return resource.Limits{}
	}
	return resource.Limits{RPM: l.RPM, TPM: l.TPM, InputTPM: l.InputTPM, OutputTPM: l.OutputTPM, Parallel: l.Parallel}
}

func (d *decoder) modelLimits(in []modelLimitBlock, body hcl.Body) map[string]resource.Limits {
	if len(in) == 0 {
		return nil
	}
	out := map[string]resource.Limits{}
	for _, l := range in {
		if _, ok := out[l.Model]; ok {
			d.report(body.MissingItemRange(), "Duplicate model_limit", "The model %q has limits already.", l.Model)
		}
		out[l.Model] = resource.Limits{RPM: l.RPM, TPM: l.TPM, InputTPM: l.InputTPM, OutputTPM: l.OutputTPM, Parallel: l.Parallel}
	}
	return out
}

func (d *decoder) terms(in *termsBlock) resource.Terms {
	t := resource.Terms{
		Name: in.Name, Tokens: in.Tokens, Requests: in.Requests, GPUSeconds: d.money(in.GPUSeconds), Soft: d.amount(in.Soft),
		Models: in.Models, Per: resource.Per(in.Per), Every: in.Every, Zone: in.Zone, Strict: in.Strict, Clamp: in.Clamp,
		Increase: decoded[resource.TempIncrease](d, in.Increase), Alerts: decoded[channel.BudgetAlerts](d, in.Alerts), Overdraft: d.amount(in.Overdraft), NoQuorum: resource.NoQuorum(in.NoQuorum), Unpriced: resource.Unpriced(in.Unpriced),
	}
	if t.Unit() == resource.UnitUSD {
		d.need(in.Body, "usd", in.USD)
	}
	t.USD = d.amount(in.USD)
	return t
}

// sharedTerms are the terms of a shared budget, which may have none if it has something else.
func (d *decoder) sharedTerms(in *sharedBlock, body hcl.Body) (t resource.Terms) {
	attributes, _ := in.Terms.JustAttributes()
	if len(attributes) == 0 && (len(in.Budgets) > 0 || in.Limit != nil || len(in.ModelLimits) > 0) {
		return resource.Terms{USD: resource.MaxMoney}
	}
	var terms termsBlock
	if !d.body(in.Terms, &terms) {
		return t
	}
	terms.Body = body
	return d.terms(&terms)
}

// decoded reads an object strictly; nil of none.
func decoded[T any](d *decoder, a *hcl.Attribute) *T {
	raw := d.json(a)
	if raw == nil {
		return nil
	}
	in := new(T)
	if err := shape.ReadKnown(raw, in); err != nil {
		d.wrong(a, "%s.", err)
	}
	return in
}

func (d *decoder) allTerms(in []termsBlock) []resource.Terms {
	var out []resource.Terms
	for i := range in {
		out = append(out, d.terms(&in[i]))
	}
	return out
}

func (d *decoder) organization(b *hcl.Block) {
	var in organizationBlock
	before := len(d.diags)
	rest, body := split[resource.Organization](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	o := config.Organization{Position: config.PositionOf(b.DefRange), Resource: resource.Organization{Meta: config.Owned(), Name: b.Labels[0]}}
	o.Resource.Policy, o.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &o.Resource)
	if d.valid("organization", &o.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Organizations = append(d.out.Resources.Organizations, o)
	}
}

func (d *decoder) team(b *hcl.Block) {
	var in teamBlock
	before := len(d.diags)
	rest, body := split[resource.Team](b.Body, in, policyBlock{})
	restOf := splitBlocks[resource.TeamMember](body, "member", memberBlock{}, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	t := config.Team{Position: config.PositionOf(b.DefRange), Organization: in.Organization, Resource: resource.Team{Meta: config.Owned(), Name: b.Labels[0]}}
	t.Resource.Policy, t.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &t.Resource)
	ok := d.valid("team", &t.Resource, b.Body, b.DefRange, before)
	for i := range in.Members {
		in := &in.Members[i]
		if d.unique("member", b.Labels[0]+" "+in.User, in.Range) {
			t.Members = append(t.Members, d.member(in, restOf[in.User]))
		}
	}
	if ok {
		d.out.Resources.Teams = append(d.out.Resources.Teams, t)
	}
}

func (d *decoder) member(in *memberBlock, rest []*hclsyntax.Attribute) config.Member {
	before := len(d.diags)
	m := config.Member{Position: config.PositionOf(in.Range), Resource: resource.TeamMember{Meta: config.Owned(), UserID: in.User, Admin: in.Admin}}
	m.Resource.Policy, m.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &m.Resource)
	whole := m.Resource
	whole.TeamID = "team" // the record gets the team's id when it is applied
	if d.valid("member", &whole, in.Body, in.Range, before) {
		whole.TeamID = ""
		m.Resource = whole
	}
	return m
}

func (d *decoder) project(b *hcl.Block) {
	var in projectBlock
	before := len(d.diags)
	rest, body := split[resource.Project](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	p := config.Project{Position: config.PositionOf(b.DefRange), Team: in.Team, Resource: resource.Project{
		Meta: config.Owned(), Name: b.Labels[0], Description: in.Description, TeamID: in.Team, // the record gets the id when it is applied
	}}
	p.Resource.Policy, p.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &p.Resource)
	if d.valid("project", &p.Resource, b.Body, b.DefRange, before) {
		p.Resource.TeamID = ""
		d.out.Resources.Projects = append(d.out.Resources.Projects, p)
	}
}

func (d *decoder) user(b *hcl.Block) {
	var in userBlock
	before := len(d.diags)
	rest, body := split[resource.User](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	u := config.User{Position: config.PositionOf(b.DefRange), Organization: in.Organization, Resource: resource.User{
		Meta: config.OwnedAs(b.Labels[0]), Name: in.Name, Email: in.Email, Role: resource.UserRole(in.Role), ServiceAccount: in.ServiceAccount,
	}}
	u.Resource.Policy, u.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &u.Resource)
	if d.valid("user", &u.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Users = append(d.out.Resources.Users, u)
	}
}

func (d *decoder) customer(b *hcl.Block) {
	var in customerBlock
	before := len(d.diags)
	rest, body := split[resource.Customer](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	c := config.Customer{Position: config.PositionOf(b.DefRange), Resource: resource.Customer{
		Meta: config.OwnedAs(b.Labels[0]), Name: in.Name, DefaultModel: in.DefaultModel, Region: in.Region,
	}}
	c.Resource.Policy, c.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &c.Resource)
	if d.valid("customer", &c.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Customers = append(d.out.Resources.Customers, c)
	}
}

func (d *decoder) tag(b *hcl.Block) {
	var in tagBlock
	before := len(d.diags)
	rest, body := split[resource.Tag](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	t := config.Tag{Position: config.PositionOf(b.DefRange), Resource: resource.Tag{Meta: config.OwnedAs(b.Labels[0]), Description: in.Description}}
	t.Resource.Policy, t.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &t.Resource)
	if d.valid("tag", &t.Resource, b.Body, b.DefRange, before) {
		d.out.Resources.Tags = append(d.out.Resources.Tags, t)
	}
}

func (d *decoder) key(b *hcl.Block) {
	var in keyBlock
	before := len(d.diags)
	rest, body := split[resource.Key](b.Body, in, policyBlock{})
	if !d.body(body, &in) {
		return
	}
	hash, hint, err := hashOf(config.Secret(in.Secret))
	if err != nil {
		d.invalid("key", b.Body, b.DefRange, err)
	}
	k := config.Key{
		Position: config.PositionOf(b.DefRange), Secret: config.Secret(in.Secret), Team: in.Team, Project: in.Project,
		Resource: resource.Key{
			Meta: config.Owned(), Name: b.Labels[0], Hash: hash, Hint: hint,
			UserID: in.UserID, Role: resource.Role(in.Role),
		},
	}
	k.Resource.Policy, k.SharedBudget = d.policy(in.Policy)
	d.rest(rest, &k.Resource)
	if k.RotationKey = d.secret("key", "rotation_key", in.RotationKey, b.Body, b.DefRange); k.RotationKey != "" {
		k.Resource.RotationKey = &resource.Sealed{} // is sealed when it is applied
	}
	ok := d.valid("key", &k.Resource, b.Body, b.DefRange, before)
	k.Resource.RotationKey = nil
	if ok && d.uniqueSecret(&k, b.DefRange) {
		d.out.Resources.Keys = append(d.out.Resources.Keys, k)
	}
}

// hashOf is what is stored of a key's secret.
func hashOf(s config.Secret) (hash resource.Hash, hint string, err error) {
	text, hint, ok := s.Sealed()
	if !ok {
		return resource.HashSecret(s.Reveal()), resource.HintOf(s.Reveal()), resource.CheckSecret(s.Reveal())
	}
	if err := hash.UnmarshalText([]byte(text)); err != nil {
		return hash, hint, &resource.Invalid{Field: "secret", Reason: "sealed takes the SHA-256 of the secret in 64 hexadecimal digits, and what to show of it"}
	}
	return hash, hint, nil
}
