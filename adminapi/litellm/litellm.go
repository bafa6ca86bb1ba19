// Package litellm is LiteLLM's management paths (/key/generate, /team/new, /model/new, …), so
// that scripts and terraform modules written for it go on working. It translates LiteLLM's
// fields into documents of package records and back; it has no rules of its own. A field
// that would bound a key and that Conclave does not enforce is refused, never ignored, and so
// is a record's field that LiteLLM has by another name.
//
// It knows nothing of who may do what: its Routes are served by package adminapi, behind
// the same authoriser as everything else.
package litellm

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/litellm/alerting"
	"github.com/conclave-llm/conclave/adminapi/litellm/auditlog"
	"github.com/conclave-llm/conclave/adminapi/litellm/costs"
	"github.com/conclave-llm/conclave/adminapi/litellm/groups"
	"github.com/conclave-llm/conclave/adminapi/litellm/guardrails"
	"github.com/conclave-llm/conclave/adminapi/litellm/logging"
	"github.com/conclave-llm/conclave/adminapi/litellm/management"
	"github.com/conclave-llm/conclave/adminapi/litellm/mcp"
	"github.com/conclave-llm/conclave/adminapi/litellm/models"
	"github.com/conclave-llm/conclave/adminapi/litellm/passthrough"
	"github.com/conclave-llm/conclave/adminapi/litellm/prompts"
	"github.com/conclave-llm/conclave/adminapi/litellm/settings"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/prices"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// Config says what the API works on. No field may be zero, but for those that say so.
type Config struct {
	Records *records.Records
	State   State
	Prices  *prices.Prices
	Now     func() time.Time
	MCP     mcp.Gateway
	// TryAlert sends a test through a channel of the setting alerts.
	TryAlert func(ctx context.Context, channel string) error

	// TryDeployment asks a deployment that need not be stored; nil: this node asks no providers.
	TryDeployment models.Trier
	// Guardrails asks guardrails about texts; nil: none runs here.
	Guardrails guardrails.Runner
	// TestCallback sends a test event through a callback of this node; nil: none runs here.
	TestCallback func(ctx context.Context, c *resource.Callback) client.CallbackTested
}

// State reads what Records does not show. *fsm.FSM implements it.
type State interface {
	Totals(kind, id string) fsm.Totals
	Keys(q fsm.ListQuery) (items []*resource.Key, next string, total int)
	auditlog.State
}

// API is LiteLLM's management paths. It may be used concurrently.
type API struct{ cfg Config }

// New returns the API.
func New(cfg Config) *API { return &API{cfg} }

// Routes lists the paths. The one who serves them authorises the caller and bounds the body.
func (a *API) Routes() []wire.Route {
	callbacks := logging.Config{Records: a.cfg.Records, Catalog: a.cfg.State.Catalog, Test: a.cfg.TestCallback, Now: a.cfg.Now}
	return slices.Concat(
		a.keyRoutes(), a.teamRoutes(), a.peopleRoutes(), a.otherRoutes(), a.resetRoutes(), a.addressRoutes(), a.bulkRoutes(),
		models.Routes(models.Config{Records: a.cfg.Records, State: a.cfg.State, Now: a.cfg.Now, Book: a.cfg.Prices.Book, Try: a.cfg.TryDeployment}),
		costs.Routes(costs.Config{Records: a.cfg.Records, State: a.cfg.State, Prices: a.cfg.Prices, Now: a.cfg.Now}),
		auditlog.Routes(a.cfg.State),
		providers.Routes(),
		groups.Routes(groups.Config{Records: a.cfg.Records, Catalog: a.cfg.State.Catalog}), passthrough.Routes(a.cfg.Records),
		mcp.Routes(mcp.Config{Records: a.cfg.Records, Catalog: a.cfg.State.Catalog, Gateway: a.cfg.MCP}),
		prompts.Routes(a.cfg.Records),
		alerting.Routes(alerting.Config{Catalog: a.cfg.State.Catalog, Try: a.cfg.TryAlert, TryCallback: logging.TryNamed(callbacks)}),
		guardrails.Routes(a.cfg.Records, a.cfg.Guardrails),
		logging.Routes(callbacks),
		settings.Routes(a.cfg.Records),
		management.Routes(management.Config{
			Records: a.cfg.Records, Catalog: a.cfg.State.Catalog, NewUser: a.makeUser, UserRow: a.userRow, MemberDoc: memberDoc, MemberRow: a.memberRow, BudgetRow: a.sharedRow,
		}),
	)
}

func (a *API) keyRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-key-generate", Method: http.MethodPost, Pattern: "/key/generate", Handler: a.keyGenerate},
		{ID: "litellm-service-account", Method: http.MethodPost, Pattern: "/key/service-account/generate", Handler: a.serviceAccount},
		{ID: "litellm-key-update", Method: http.MethodPost, Pattern: "/key/update", Handler: a.keyUpdate},
		{ID: "litellm-key-bulk-update", Method: http.MethodPost, Pattern: "/key/bulk_update", Handler: a.keyBulkUpdate},
		{ID: "litellm-team-key-bulk-update", Method: http.MethodPost, Pattern: "/team/key/bulk_update", Handler: a.teamKeyBulkUpdate},
		{ID: "litellm-key-delete", Method: http.MethodPost, Pattern: "/key/delete", Handler: a.keyDelete},
		{ID: "litellm-key-block", Method: http.MethodPost, Pattern: "/key/block", Handler: a.keyBlock(client.Blocked)},
		{ID: "litellm-key-unblock", Method: http.MethodPost, Pattern: "/key/unblock", Handler: a.keyBlock(client.Unblocked)},
		{ID: "litellm-key-regenerate", Method: http.MethodPost, Pattern: "/key/regenerate", Handler: a.keyRegenerate},
		{ID: "litellm-key-path-regenerate", Method: http.MethodPost, Pattern: "/key/{key}/regenerate", Handler: a.keyRegenerate},
		{ID: "litellm-key-info", Method: http.MethodGet, Pattern: "/key/info", Handler: a.keyInfo},
		{ID: "litellm-v2-key-info", Method: http.MethodPost, Pattern: "/v2/key/info", Handler: a.keyInfos},
		{ID: "litellm-key-list", Method: http.MethodGet, Pattern: "/key/list", Handler: a.keyList},
		{ID: "litellm-key-aliases", Method: http.MethodGet, Pattern: "/key/aliases", Handler: a.keyAliases},
	}
}

func (a *API) teamRoutes() []wire.Route {
	teams, orgs, projects := a.teams(), a.organizations(), a.projects()
	return []wire.Route{
		{ID: "litellm-team-new", Method: http.MethodPost, Pattern: "/team/new", Handler: a.teamNew},
		{ID: "litellm-team-update", Method: http.MethodPost, Pattern: "/team/update", Handler: teams.update},
		{ID: "litellm-team-patch", Method: http.MethodPatch, Pattern: "/team/{id}", Handler: teams.updatePath},
		{ID: "litellm-team-delete", Method: http.MethodPost, Pattern: "/team/delete", Handler: a.teamDelete},
		{ID: "litellm-team-block", Method: http.MethodPost, Pattern: "/team/block", Handler: teams.block(client.Blocked)},
		{ID: "litellm-team-unblock", Method: http.MethodPost, Pattern: "/team/unblock", Handler: teams.block(client.Unblocked)},
		{ID: "litellm-team-info", Method: http.MethodGet, Pattern: "/team/info", Handler: a.teamInfo},
		{ID: "litellm-team-list", Method: http.MethodGet, Pattern: "/team/list", Handler: a.teamList},
		{ID: "litellm-v2-team-list", Method: http.MethodGet, Pattern: "/v2/team/list", Handler: a.teamPages},
		{ID: "litellm-team-available", Method: http.MethodGet, Pattern: "/team/available", Handler: a.teamsAvailable},
		{ID: "litellm-team-member-add", Method: http.MethodPost, Pattern: "/team/member_add", Handler: a.teamMemberAdd},
		{ID: "litellm-team-bulk-member-add", Method: http.MethodPost, Pattern: "/team/bulk_member_add", Handler: a.teamBulkMemberAdd},
		{ID: "litellm-team-member-update", Method: http.MethodPost, Pattern: "/team/member_update", Handler: a.teamMemberUpdate},
		{ID: "litellm-team-member-delete", Method: http.MethodPost, Pattern: "/team/member_delete", Handler: a.teamMemberDelete},
		{ID: "litellm-team-model-add", Method: http.MethodPost, Pattern: "/team/model/add", Handler: a.teamModels},
		{ID: "litellm-team-model-delete", Method: http.MethodPost, Pattern: "/team/model/delete", Handler: a.teamModels},
		{ID: "litellm-team-permissions", Method: http.MethodGet, Pattern: "/team/permissions_list", Handler: a.teamPermissions},
		{ID: "litellm-team-permissions-update", Method: http.MethodPost, Pattern: "/team/permissions_update", Handler: a.teamPermissionsUpdate},
		{ID: "litellm-team-permissions-bulk", Method: http.MethodPost, Pattern: "/team/permissions_bulk_update", Handler: a.teamPermissionsBulk},
		{ID: "litellm-organization-new", Method: http.MethodPost, Pattern: "/organization/new", Handler: orgs.create},
		{ID: "litellm-organization-update", Method: http.MethodPatch, Pattern: "/organization/update", Handler: orgs.update},
		{ID: "litellm-organization-post", Method: http.MethodPost, Pattern: "/organization/update", Handler: orgs.update},
		{ID: "litellm-organization-member-update", Method: http.MethodPatch, Pattern: "/organization/member_update", Handler: a.organizationMemberUpdate},
		{ID: "litellm-organization-patch", Method: http.MethodPatch, Pattern: "/v2/organization/{id}", Handler: orgs.updatePath},
		{ID: "litellm-organization-delete", Method: http.MethodDelete, Pattern: "/organization/delete", Handler: a.organizationDelete},
		{ID: "litellm-organization-info", Method: http.MethodGet, Pattern: "/organization/info", Handler: a.organizationInfo},
		{ID: "litellm-organization-list", Method: http.MethodGet, Pattern: "/organization/list", Handler: a.organizationList},
		{ID: "litellm-organization-member-add", Method: http.MethodPost, Pattern: "/organization/member_add", Handler: a.organizationMemberAdd},
		{ID: "litellm-organization-member-delete", Method: http.MethodDelete, Pattern: "/organization/member_delete", Handler: a.organizationMemberDelete},
		{ID: "litellm-project-new", Method: http.MethodPost, Pattern: "/project/new", Handler: projects.create},
		{ID: "litellm-project-update", Method: http.MethodPost, Pattern: "/project/update", Handler: projects.update},
		{ID: "litellm-project-delete", Method: http.MethodDelete, Pattern: "/project/delete", Handler: projects.remove},
		{ID: "litellm-project-info", Method: http.MethodGet, Pattern: "/project/info", Handler: projects.info},
		{ID: "litellm-project-list", Method: http.MethodGet, Pattern: "/project/list", Handler: a.projectList},
	}
}

func (a *API) peopleRoutes() []wire.Route {
	routes := []wire.Route{
		{ID: "litellm-user-new", Method: http.MethodPost, Pattern: "/user/new", Handler: a.userNew},
		{ID: "litellm-user-update", Method: http.MethodPost, Pattern: "/user/update", Handler: a.userUpdate},
		{ID: "litellm-user-delete", Method: http.MethodPost, Pattern: "/user/delete", Handler: a.userDelete},
		{ID: "litellm-user-info", Method: http.MethodGet, Pattern: "/user/info", Handler: a.userInfo},
		{ID: "litellm-v2-user-info", Method: http.MethodGet, Pattern: "/v2/user/info", Handler: a.userInfoAlone},
		{ID: "litellm-user-list", Method: http.MethodGet, Pattern: "/user/list", Handler: a.userList},
	}
	customers := a.customers()
	for _, name := range []string{"customer", "end_user"} {
		id := "litellm-" + strings.ReplaceAll(name, "_", "-")
		routes = append(
			routes,
			wire.Route{ID: id + "-new", Method: http.MethodPost, Pattern: "/" + name + "/new", Handler: customers.create},
			wire.Route{ID: id + "-update", Method: http.MethodPost, Pattern: "/" + name + "/update", Handler: customers.update},
			wire.Route{ID: id + "-delete", Method: http.MethodPost, Pattern: "/" + name + "/delete", Handler: customers.remove},
			wire.Route{ID: id + "-block", Method: http.MethodPost, Pattern: "/" + name + "/block", Handler: a.customerBlock(client.Blocked)},
			wire.Route{ID: id + "-unblock", Method: http.MethodPost, Pattern: "/" + name + "/unblock", Handler: a.customerBlock(client.Unblocked)},
			wire.Route{ID: id + "-info", Method: http.MethodGet, Pattern: "/" + name + "/info", Handler: a.customerInfo},
			wire.Route{ID: id + "-list", Method: http.MethodGet, Pattern: "/" + name + "/list", Handler: a.customerList},
		)
	}
	return routes
}

func (a *API) otherRoutes() []wire.Route {
	tags, budgets := a.tags(), a.budgets()
	return []wire.Route{
		{ID: "litellm-tag-new", Method: http.MethodPost, Pattern: "/tag/new", Handler: tags.create},
		{ID: "litellm-tag-update", Method: http.MethodPost, Pattern: "/tag/update", Handler: tags.update},
		{ID: "litellm-tag-delete", Method: http.MethodPost, Pattern: "/tag/delete", Handler: tags.remove},
		{ID: "litellm-tag-info", Method: http.MethodPost, Pattern: "/tag/info", Handler: a.tagInfo},
		{ID: "litellm-tag-list", Method: http.MethodGet, Pattern: "/tag/list", Handler: a.tagList},
		{ID: "litellm-budget-new", Method: http.MethodPost, Pattern: "/budget/new", Handler: budgets.create},
		{ID: "litellm-budget-update", Method: http.MethodPost, Pattern: "/budget/update", Handler: budgets.update},
		{ID: "litellm-budget-delete", Method: http.MethodPost, Pattern: "/budget/delete", Handler: budgets.remove},
		{ID: "litellm-budget-info", Method: http.MethodPost, Pattern: "/budget/info", Handler: a.budgetInfo},
		{ID: "litellm-budget-list", Method: http.MethodGet, Pattern: "/budget/list", Handler: a.budgetList},
		{ID: "litellm-config-update", Method: http.MethodPost, Pattern: "/config/update", Handler: a.updateConfig},
		{ID: "litellm-budget-settings", Method: http.MethodGet, Pattern: "/budget/settings", Handler: a.budgetSettings},
	}
}
