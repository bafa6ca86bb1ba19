package main

import (
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/config"
)

// declaration turns a file's records into what is applied to the cluster.
func declaration(r *config.Resources) declare.File {
	var d declare.File
	for _, c := range r.Credentials {
		d.Credentials = append(d.Credentials, declare.Credential{Record: c.Resource, APIKey: string(c.APIKey)})
	}
	for _, m := range r.Models {
		dm := declare.Model{Record: m.Resource, Budget: m.SharedBudget}
		for _, dep := range m.Deployments {
			dm.Deployments = append(dm.Deployments, declare.Deployment{
				Record: dep.Resource, Credential: dep.Credential, Budget: dep.SharedBudget, APIKey: string(dep.APIKey),
			})
		}
		d.Models = append(d.Models, dm)
	}
	declareHolders(r, &d)
	for _, b := range r.Budgets {
		d.Budgets = append(d.Budgets, b.Resource)
	}
	for _, g := range r.Guardrails {
		d.Guardrails = append(d.Guardrails, g.Resource)
	}
	for _, c := range r.Callbacks {
		d.Callbacks = append(d.Callbacks, c.Resource)
	}
	for _, p := range r.Plugins {
		d.Plugins = append(d.Plugins, p.Resource)
	}
	for _, s := range r.Settings {
		d.Settings = append(d.Settings, s.Resource)
	}
	return d
}

// declareHolders turns the records that can be limited.
func declareHolders(r *config.Resources, d *declare.File) {
	for _, o := range r.Organizations {
		d.Organizations = append(d.Organizations, declare.Organization{Record: o.Resource, Budget: o.SharedBudget})
	}
	for _, t := range r.Teams {
		d.Teams = append(d.Teams, declare.Team{Record: t.Resource, Organization: t.Organization, Budget: t.SharedBudget})
	}
	for _, p := range r.Projects {
		d.Projects = append(d.Projects, declare.Project{Record: p.Resource, Team: p.Team, Budget: p.SharedBudget})
	}
	for _, u := range r.Users {
		d.Users = append(d.Users, declare.User{Record: u.Resource, Organization: u.Organization, Budget: u.SharedBudget})
	}
	for _, c := range r.Customers {
		d.Customers = append(d.Customers, declare.Customer{Record: c.Resource, Budget: c.SharedBudget})
	}
	for _, t := range r.Tags {
		d.Tags = append(d.Tags, declare.Tag{Record: t.Resource, Budget: t.SharedBudget})
	}
	for _, k := range r.Keys {
		d.Keys = append(d.Keys, declare.Key{Record: k.Resource, Team: k.Team, Project: k.Project, Budget: k.SharedBudget})
	}
}
