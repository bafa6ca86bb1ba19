// Package relation is what records are called and what they refer to: the keys of the
// buckets of names, references and tombstones.
package relation

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// maxID is the longest id of a record that the cluster names.
const maxID = 128

// Name is the name of a record that is unique among its kind, "" for none.
func Name(r resource.Record) string {
	switch r := r.(type) {
	case *resource.Deployment:
		if r.Name != "" {
			return r.ModelID + "/" + r.Name
		}
	case *resource.Tag:
		return "" // its id is its name
	case *resource.User:
		return strings.ToLower(r.Email)
	}
	return r.Label()
}

// NameKey is where a name stands in the bucket of names.
func NameKey(b store.Bucket, name string) []byte { return []byte(b.Kind() + "\x00" + name) }

// Tombstone is where a deleted record stands.
func Tombstone(b store.Bucket, id string) []byte { return []byte(b.Kind() + "/" + id) }

// Natural says that the ids of a kind are names of the outside world, which may come back
// after their record was deleted. Any other id stays dead.
func Natural(b store.Bucket) bool {
	switch b {
	case store.Settings, store.Users, store.Customers, store.Tags, store.TeamMembers, store.Variables:
		return true
	}
	return false
}

// ValidID says whether a record of the kind may have the id. Ids that the cluster makes have
// no slash; a member's has the one between team and user.
func ValidID(b store.Bucket, id string) bool {
	limit := maxID
	if b == store.TeamMembers {
		limit = 2*maxID + 1
	}
	if id == "" || len(id) > limit || strings.Contains(id, "\x00") {
		return false
	}
	switch b {
	case store.Customers, store.Tags, store.TeamMembers:
		return true
	}
	return !strings.Contains(id, "/")
}

// Reference is a field of a record that names another record.
type Reference struct {
	To     store.Bucket
	ID     string
	Field  string
	Unseen bool // the other record need not exist
}

// Of lists what a record refers to.
func Of(r resource.Record) []Reference {
	var refs []Reference
	add := func(to store.Bucket, id, field string) {
		if id != "" {
			refs = append(refs, Reference{To: to, ID: id, Field: field})
		}
	}
	unseen := func(to store.Bucket, id, field string) {
		if id != "" {
			refs = append(refs, Reference{To: to, ID: id, Field: field, Unseen: true})
		}
	}
	switch r := r.(type) {
	case *resource.Key:
		add(store.Teams, r.TeamID, "team_id")
		add(store.Projects, r.ProjectID, "project_id")
		unseen(store.Users, r.UserID, "user_id") // a label, until somebody makes the user's record
		unseen(store.Budgets, Customers(r.CustomerBudget), "customer_budget")
		for _, name := range resource.KeyCallbacks(r.Callbacks) {
			unseen(store.Callbacks, name, "callbacks") // which ends with it
		}
	case *resource.Organization:
		unseen(store.Budgets, Customers(r.CustomerBudget), "customer_budget")
	case *resource.Team:
		add(store.Organizations, r.OrganizationID, "organization_id")
		unseen(store.Budgets, Customers(r.CustomerBudget), "customer_budget")
	case *resource.Project:
		add(store.Teams, r.TeamID, "team_id")
	case *resource.User:
		add(store.Organizations, r.OrganizationID, "organization_id")
	case *resource.TeamMember:
		add(store.Teams, r.TeamID, "team_id")
		add(store.Users, r.UserID, "user_id")
	case *resource.Deployment:
		add(store.Models, r.ModelID, "model_id")
		add(store.Credentials, r.CredentialID, "credential_id")
		unseen(store.Plugins, r.PluginName(), "provider") // by name, as below
	case *resource.MCPServer:
		add(store.Credentials, r.CredentialID, "credential_id")
	default:
		unseen(store.Plugins, pluginOf(r), "plugin") // by name; shipped ones have no record
	}
	l, _ := resource.LevelOf(r)
	if l.Allowance != nil {
		add(store.Budgets, l.Allowance.BudgetID, "budget_id")
	}
	if l.Policy != nil {
		for _, id := range l.Policy.AccessGroupIDs {
			add(store.AccessGroups, id, "access_group_ids")
		}
	}
	return append(refs, blobsOf(r)...)
}

// blobsOf are the blobs that a record names, which may be gone. Those of plugins say so themselves.
func blobsOf(r resource.Record) (refs []Reference) {
	add := func(digest, field string) {
		named := slices.ContainsFunc(refs, func(r Reference) bool { return r.ID == digest })
		if resource.ValidDigest(digest) && !named { // a document may be a URL
			refs = append(refs, Reference{To: store.Blobs, ID: digest, Field: field, Unseen: true})
		}
	}
	way := func(e *resource.Egress) {
		for field, digest := range e.Blobs {
			add(digest, field)
		}
	}
	switch r := r.(type) {
	case *resource.Credential:
		way(&r.Egress)
	case *resource.Deployment:
		way(&r.Egress)
		if t := r.PromptTemplate; t != nil {
			add(t.Jinja, "prompt_template.jinja")
		}
		if t, err := r.Tokenizer(); err == nil && t != nil {
			add(t.Blob, "metadata.custom_tokenizer")
		}
	case *resource.MCPServer:
		add(r.Spec, "spec")
	case *resource.Setting:
		for _, digest := range r.Blobs() {
			add(digest, "value")
		}
	}
	return refs
}

// Customers is what stands in the place of a budget's id, or of its name, where it is named for end users, so that those who name
// it so are not among the holders whose budget it is; "" for none.
func Customers(budget string) string {
	if budget == "" {
		return ""
	}
	return "customers/" + budget // no id has a slash
}

// pluginOf is the name of the plugin that a record uses, "" if it uses none.
func pluginOf(r resource.Record) string {
	switch r := r.(type) {
	case *resource.Guardrail:
		return r.Plugin
	case *resource.Callback:
		return r.Plugin
	case *resource.SecretSource:
		return r.Plugin
	case *resource.RouterFilter:
		return r.Plugin
	case *resource.Auth:
		return r.Plugin
	}
	return ""
}

// Prefix is how the keys of all references to a record begin.
func Prefix(to store.Bucket, id string) []byte { return []byte(to.Kind() + "/" + id + "\x00") }

// Key is where the reference stands that a record makes.
func (r Reference) Key(from store.Bucket, id string) []byte {
	return append(Prefix(r.To, r.ID), from.Kind()+"/"+id...)
}
