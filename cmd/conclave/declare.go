package main

import (
	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/config"
)

// declare turns a file's records into what the admin API applies.
func declare(r *config.Resources) adminapi.File {
	var d adminapi.File
	for _, c := range r.Credentials {
		d.Credentials = append(d.Credentials, adminapi.FileCredential{Record: c.Resource, APIKey: string(c.APIKey)})
	}
	for _, m := range r.Models {
		dm := adminapi.FileModel{Record: m.Resource}
		for _, dep := range m.Deployments {
			dm.Deployments = append(dm.Deployments, adminapi.FileDeployment{
				Record: dep.Resource, Credential: dep.Credential, APIKey: string(dep.APIKey),
			})
		}
		d.Models = append(d.Models, dm)
	}
	for _, t := range r.Teams {
		d.Teams = append(d.Teams, adminapi.FileTeam{Record: t.Resource, Budget: t.SharedBudget})
	}
	for _, k := range r.Keys {
		d.Keys = append(d.Keys, adminapi.FileKey{Record: k.Resource, Team: k.Team, Budget: k.SharedBudget})
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
