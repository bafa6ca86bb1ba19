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
		dm := declare.Model{Record: m.Resource}
		for _, dep := range m.Deployments {
			dm.Deployments = append(dm.Deployments, declare.Deployment{
				Record: dep.Resource, Credential: dep.Credential, APIKey: string(dep.APIKey),
			})
		}
		d.Models = append(d.Models, dm)
	}
	for _, t := range r.Teams {
		d.Teams = append(d.Teams, declare.Team{Record: t.Resource, Budget: t.SharedBudget})
	}
	for _, k := range r.Keys {
		d.Keys = append(d.Keys, declare.Key{Record: k.Resource, Team: k.Team, Budget: k.SharedBudget})
	}
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
