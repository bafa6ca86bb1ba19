package load_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

const holders = `
budget "large" {
  usd   = 1000
  per   = "month"
  every = 2
}
organization "acme" {
  shared_budget = "large"
  models        = ["demo", "premium"]
  limit {
    input_tpm  = 10
    output_tpm = 20
  }
}
team "research" {
  organization = "acme"
  aliases      = { gpt = "demo" }
  denied_ips   = ["10.0.0.1"]
  log_content  = false
  model_limit "openai/big" {
    rpm = 5
  }
  sessions {
    budget           = 0.5
    require_trace_id = true
  }
}
project "search" {
  team        = "research"
  description = "find things"
  budget {
    tokens = 1000
    soft   = 0.0000005
    models = ["demo"]
    per    = "day"
  }
}
user "auth0|7" {
  email        = "ada@example.org"
  organization = "acme"
  role         = "proxy_admin_viewer"
}
customer "tenant/7" {
  name          = "Seven"
  default_model = "demo"
  region        = "eu"
}
tag "team/prod" {
  description = "in production"
  max_request_mb = 4
}
key "notebook" {
  secret  = "sk-notebook-0123456789"
  project = "search"
  user_id = "auth0|7"
}
model "demo" {
  access_groups = ["premium"]
  limit {
    rpm = 100
  }
}
`

func TestParse_Holders(t *testing.T) {
	t.Parallel()
	f, err := load.Text("x.hcl", []byte(holders), environment)
	if err != nil {
		t.Fatal(err)
	}
	r := &f.Resources
	if got := r.Len(); got != 9 {
		t.Errorf("Len = %d, want 9", got)
	}
	o, team, p := r.Organizations[0], r.Teams[0], r.Projects[0]
	if o.SharedBudget != "large" || *o.Resource.Limits.InputTPM != 10 || *o.Resource.Limits.OutputTPM != 20 || len(o.Resource.Models) != 2 {
		t.Errorf("organization = %+v", o)
	}
	if team.Organization != "acme" || team.Resource.Aliases["gpt"] != "demo" || *team.Resource.LogContent || *team.Resource.ModelLimits["openai/big"].RPM != 5 ||
		team.Resource.Sessions.Budget != resource.Dollar/2 || !team.Resource.Sessions.RequireTraceID {
		t.Errorf("team = %+v", team)
	}
	b := p.Resource.Budgets[0]
	if p.Team != "research" || p.Resource.TeamID != "" || b.Unit() != resource.UnitTokens || *b.Tokens != 1000 || b.Name != "tokens_day" {
		t.Errorf("project = %+v", p)
	}
	if u := r.Users[0]; u.Resource.ID != "auth0|7" || u.Organization != "acme" || u.Resource.Role != resource.UserAdminViewer {
		t.Errorf("user = %+v", u)
	}
	if c := r.Customers[0].Resource; c.ID != "tenant/7" || c.DefaultModel != "demo" || c.Owner != resource.OwnerFile {
		t.Errorf("customer = %+v", c)
	}
	if tag := r.Tags[0].Resource; tag.ID != "team/prod" || *tag.MaxRequestMB != 4 {
		t.Errorf("tag = %+v", tag)
	}
	if k := r.Keys[0]; k.Project != "search" || k.Resource.UserID != "auth0|7" {
		t.Errorf("key = %+v", k)
	}
	if d := cmp.Diff([]string{"premium"}, r.Models[0].Resource.AccessGroups); d != "" {
		t.Errorf("access groups (-want +got):\n%s", d)
	}
}

func TestParse_HolderErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, says string }{
		{"project without a team", `project "x" {}`, `"team" is required`},
		{"budget without an amount", "team \"x\" {\n  budget {\n    per = \"day\"\n  }\n}", `"usd" is required`},
		{"two units", "team \"x\" {\n  budget {\n    usd = 1\n    tokens = 5\n  }\n}", "counts one of"},
		{"an unknown attribute", "organization \"x\" {\n  colour = 1\n}", "colour"},
		{"an address", "user \"x\" {\n  allowed_ips = [\"10.0.0\"]\n}", "neither IPv4"},
		{"a model twice", "tag \"x\" {\n  model_limit \"m\" {}\n  model_limit \"m\" {}\n}", "limits already"},
		{"a role", "user \"x\" {\n  role = \"boss\"\n}", "boss"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := load.Text("x.hcl", []byte(tt.file), environment); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want an error with %q", err, tt.says)
			}
		})
	}
}
