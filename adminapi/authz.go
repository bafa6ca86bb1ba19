package adminapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// right is one cell of the table of rights. The zero value is no right that was thought
// about: a test refuses it, and the authoriser takes it for a refusal.
type right uint8

const (
	unlisted right = iota
	deny
	allow
	own // the key's own record and that of its team
)

// row is the rights of each role on a route. The master key has those of an admin.
type row struct {
	admin, viewer, inference right
}

// The rows that occur.
var (
	adminOnly = row{admin: allow, viewer: deny, inference: deny}
	readAll   = row{admin: allow, viewer: allow, inference: deny}
	readOwn   = row{admin: allow, viewer: allow, inference: own}
)

// nounRights are the rights on the routes that every kind of record has.
var nounRights = map[string]row{
	"list":    readAll,
	"get":     readAll,
	"create":  adminOnly,
	"replace": adminOnly,
	"update":  adminOnly,
	"delete":  adminOnly,
}

// rights is the table of rights: each registered route's id has a row.
var rights = withNouns(map[string]row{
	"get-key":  readOwn,
	"get-team": readOwn,

	"get-organization": readOwn,
	"explain-key":      readOwn,
	"get-project":      readOwn,
	"get-user":         readOwn,

	"block-key":        adminOnly,
	"unblock-key":      adminOnly,
	"rotate-key":       adminOnly,
	"pick-up-key":      {admin: allow, viewer: own, inference: own}, // its owner has the old secret
	"raise-key":        adminOnly,
	"raise-member":     adminOnly,
	"bulk-create-keys": adminOnly,
	"block-team":       adminOnly,
	"unblock-team":     adminOnly,

	"block-organization":   adminOnly,
	"unblock-organization": adminOnly,
	"block-project":        adminOnly,
	"unblock-project":      adminOnly,
	"block-user":           adminOnly,
	"unblock-user":         adminOnly,
	"block-customer":       adminOnly,
	"unblock-customer":     adminOnly,

	"list-members":  readAll,
	"get-member":    readAll,
	"create-member": adminOnly,
	"update-member": adminOnly,
	"delete-member": adminOnly,

	"get-cluster":         readAll,
	"create-join-token":   adminOnly,
	"transfer-leadership": adminOnly,
	"delete-node":         adminOnly,

	"list-requests":   readOwn,
	"get-request":     readOwn,
	"export-requests": readOwn,
	"export-usage":    readOwn,
	"verify-ledger":   readAll,

	"litellm-spend-logs":                       readOwn,
	"litellm-spend-logs-v2":                    readOwn,
	"litellm-spend-logs-ui":                    readOwn,
	"litellm-spend-logs-session":               readOwn,
	"litellm-spend-keys":                       readOwn,
	"litellm-spend-users":                      readOwn,
	"litellm-spend-tags":                       readOwn,
	"litellm-key-spend-report":                 readOwn,
	"litellm-user-spend-report":                readOwn,
	"litellm-team-spend-report":                readOwn,
	"litellm-organization-spend-report":        readOwn,
	"litellm-user-activity":                    readOwn,
	"litellm-user-activity-aggregated":         readOwn,
	"litellm-user-activity-export":             readOwn,
	"litellm-team-activity":                    readOwn,
	"litellm-team-activity-aggregated":         readOwn,
	"litellm-team-activity-export":             readOwn,
	"litellm-organization-activity":            readOwn,
	"litellm-organization-activity-aggregated": readOwn,
	"litellm-organization-activity-export":     readOwn,
	"litellm-tag-activity":                     readOwn,
	"litellm-tag-activity-aggregated":          readOwn,
	"litellm-tag-activity-export":              readOwn,
	"litellm-customer-activity":                readOwn,
	"litellm-customer-activity-aggregated":     readOwn,
	"litellm-customer-activity-export":         readOwn,
	"litellm-end-user-activity":                readOwn,
	"litellm-end-user-activity-aggregated":     readOwn,
	"litellm-end-user-activity-export":         readOwn,
	"litellm-global-spend-report":              readAll,
	"litellm-global-spend":                     readAll,
	"litellm-global-spend-logs":                readAll,
	"litellm-global-spend-keys":                readAll,
	"litellm-global-spend-teams":               readAll,
	"litellm-global-spend-models":              readAll,
	"litellm-global-spend-provider":            readAll,
	"litellm-global-spend-tags":                readAll,
	"litellm-global-spend-tag-names":           readAll,
	"litellm-global-end-users":                 readAll,
	"litellm-global-activity":                  readAll,
	"litellm-global-activity-model":            readAll,
	"litellm-spend-logs-content":               readAll,

	"list-prices":          readAll,
	"lookup-price":         readAll,
	"get-price-source":     readAll,
	"list-proposed-prices": readAll,
	"diff-prices":          adminOnly,
	"import-prices":        adminOnly,
	"sync-prices":          adminOnly,
	"accept-prices":        adminOnly,
	"discard-prices":       adminOnly,
	"reset-prices":         adminOnly,

	"litellm-cost-map-source":          readAll,
	"litellm-cost-map-reload":          adminOnly,
	"litellm-cost-map-schedule":        adminOnly,
	"litellm-cost-map-unschedule":      adminOnly,
	"litellm-cost-map-schedule-status": readAll,
	"litellm-discounts":                readAll,
	"litellm-discounts-update":         adminOnly,
	"litellm-margins":                  readAll,
	"litellm-margins-update":           adminOnly,

	"plan-config":   adminOnly,
	"apply-config":  adminOnly,
	"export-config": adminOnly, // it has the hash of every key
	"own-config":    adminOnly,

	"list-audit":   readAll,
	"get-audit":    readAll,
	"verify-audit": readAll,
	"export-audit": readAll,
	"list-usage":   readOwn,
	"get-schema":   {admin: allow, viewer: allow, inference: allow}, // the OpenAPI document tells no secret

	"litellm-key-generate":               adminOnly,
	"litellm-service-account":            adminOnly,
	"litellm-key-update":                 adminOnly,
	"litellm-key-bulk-update":            adminOnly,
	"litellm-key-delete":                 adminOnly,
	"litellm-key-block":                  adminOnly,
	"litellm-key-unblock":                adminOnly,
	"litellm-key-regenerate":             adminOnly,
	"litellm-key-path-regenerate":        adminOnly,
	"litellm-key-info":                   readOwn,
	"litellm-v2-key-info":                adminOnly,
	"litellm-key-list":                   readAll,
	"litellm-key-aliases":                readAll,
	"litellm-team-new":                   adminOnly,
	"litellm-team-update":                adminOnly,
	"litellm-team-patch":                 adminOnly,
	"litellm-team-delete":                adminOnly,
	"litellm-team-block":                 adminOnly,
	"litellm-team-unblock":               adminOnly,
	"litellm-team-info":                  readOwn,
	"litellm-team-list":                  readAll,
	"litellm-v2-team-list":               readAll,
	"litellm-team-member-add":            adminOnly,
	"litellm-team-bulk-member-add":       adminOnly,
	"litellm-team-member-update":         adminOnly,
	"litellm-team-member-delete":         adminOnly,
	"litellm-team-model-add":             adminOnly,
	"litellm-team-model-delete":          adminOnly,
	"litellm-organization-new":           adminOnly,
	"litellm-organization-update":        adminOnly,
	"litellm-organization-patch":         adminOnly,
	"litellm-organization-delete":        adminOnly,
	"litellm-organization-info":          readOwn,
	"litellm-organization-list":          readAll,
	"litellm-organization-member-add":    adminOnly,
	"litellm-organization-member-delete": adminOnly,
	"litellm-project-new":                adminOnly,
	"litellm-project-update":             adminOnly,
	"litellm-project-delete":             adminOnly,
	"litellm-project-info":               readOwn,
	"litellm-project-list":               readAll,
	"litellm-user-new":                   adminOnly,
	"litellm-user-update":                adminOnly,
	"litellm-user-delete":                adminOnly,
	"litellm-user-info":                  readOwn,
	"litellm-v2-user-info":               readOwn,
	"litellm-user-list":                  readAll,
	"litellm-tag-new":                    adminOnly,
	"litellm-tag-update":                 adminOnly,
	"litellm-tag-delete":                 adminOnly,
	"litellm-tag-info":                   adminOnly,
	"litellm-tag-list":                   readAll,
	"litellm-budget-new":                 adminOnly,
	"litellm-budget-update":              adminOnly,
	"litellm-budget-delete":              adminOnly,
	"litellm-budget-info":                adminOnly,
	"litellm-budget-list":                readAll,
	"litellm-budget-settings":            readAll,
	"litellm-model-new":                  adminOnly,
	"litellm-model-delete":               adminOnly,
	"litellm-model-update":               adminOnly,
	"litellm-model-patch":                adminOnly,
	"litellm-model-block":                adminOnly,
	"litellm-model-unblock":              adminOnly,
	"litellm-v2-model-info":              readAll,
	"litellm-model-group-info":           readAll,
	"litellm-credential-new":             adminOnly,
	"litellm-credential-list":            readAll,
	"litellm-credential-by-name":         readAll,
	"litellm-credential-by-model":        readAll,
	"litellm-credential-update":          adminOnly,
	"litellm-credential-delete":          adminOnly,
	"litellm-model-info":                 readAll,
	"litellm-v1-model-info":              readAll,
	"litellm-customer-new":               adminOnly,
	"litellm-customer-update":            adminOnly,
	"litellm-customer-delete":            adminOnly,
	"litellm-customer-block":             adminOnly,
	"litellm-customer-unblock":           adminOnly,
	"litellm-customer-info":              readAll,
	"litellm-customer-list":              readAll,
	"litellm-end-user-new":               adminOnly,
	"litellm-end-user-update":            adminOnly,
	"litellm-end-user-delete":            adminOnly,
	"litellm-end-user-block":             adminOnly,
	"litellm-end-user-unblock":           adminOnly,
	"litellm-end-user-info":              readAll,
	"litellm-end-user-list":              readAll,
	"litellm-audit-list":                 readAll,
	"litellm-audit-get":                  readAll,
}, "organization", "project", "user", "customer", "tag", "key", "team", "model", "deployment", "credential", "budget", "guardrail", "callback", "plugin", "setting")

func withNouns(table map[string]row, nouns ...string) map[string]row {
	for _, noun := range nouns {
		for verb, r := range nounRights {
			id := routeID(verb, noun)
			if _, ok := table[id]; !ok {
				table[id] = r
			}
		}
	}
	return table
}

// routeID names the route of a verb on a kind: "list-keys", "create-key".
func routeID(verb, noun string) string {
	if verb == "list" {
		noun += "s"
	}
	return verb + "-" + noun
}

// authorise decides whether the caller may use the route, and if only for his own record.
// It is the only place that decides so, and refuses whatever it does not know.
func authorise(who *resource.Principal, route, path string) (ownOnly bool, err error) {
	r := rights[route].of(who)
	if err := typeAllows(who, rights[route], path); err != nil {
		return false, err
	}
	if r != allow && r != own {
		return false, &llm.Error{
			Kind: llm.Forbidden, Code: "forbidden",
			Message: fmt.Sprintf("the key may not do this; it takes the master key or a key with the role %s", resource.RoleAdmin),
		}
	}
	if who.Key != nil && !routesAllow(who.Key.Routes, path) {
		return false, &llm.Error{Kind: llm.Forbidden, Code: "route_not_allowed", Message: "the key may not call " + path}
	}
	return r == own, nil
}

// typeAllows refuses what the type of a key is not for: llm_api has no management, and
// read_only has only what viewers may do.
func typeAllows(who *resource.Principal, r row, path string) error {
	if who == nil || who.Key == nil {
		return nil
	}
	switch who.Key.Type {
	case resource.TypeInference:
	case resource.TypeReadOnly:
		if r.viewer == allow {
			return nil
		}
	default:
		return nil
	}
	return &llm.Error{
		Kind: llm.Forbidden, Code: "key_type_not_allowed", NoRetry: true,
		Message: fmt.Sprintf("a key of the type %s may not call %s", who.Key.Type, path),
	}
}

func (r row) of(who *resource.Principal) right {
	switch {
	case who == nil:
		return deny
	case who.IsAdmin():
		return r.admin
	case who.MayRead():
		return r.viewer
	case who.Key != nil:
		return r.inference
	default:
		return deny
	}
}

// mayGrant decides whether the caller may write a key so; before is nil for a new one.
// Create and update, on every path, ask it. Who may manage keys may give any model and any
// budget, as he could give himself those; but a key that is bound to routes, or expires,
// cannot make one that reaches further or lives longer as an administrator.
func mayGrant(who *resource.Principal, before, after *resource.Key) error {
	if !who.IsAdmin() {
		return fmt.Errorf("write key: %w", resource.ErrForbidden)
	}
	if who.Master {
		return nil
	}
	if !routesWithin(after.Routes, who.Key.Routes) {
		return fmt.Errorf("routes are wider than those of the key that grants them: %w", resource.ErrForbidden)
	}
	if after.Role != resource.RoleInference && outlives(after.ExpiresAt, who.Key.ExpiresAt) {
		unchanged := before != nil && before.Role == after.Role && before.ExpiresAt == after.ExpiresAt
		if !unchanged {
			return fmt.Errorf("a key with a role may not outlive the key that grants it: %w", resource.ErrForbidden)
		}
	}
	return nil
}

// outlives says whether expiry a is later than b; 0 is never.
func outlives(a, b resource.Time) bool {
	return b != 0 && (a == 0 || a > b)
}

// routesAllow says whether a key's list of paths and "/prefix/*" has the path; an empty
// list has all.
func routesAllow(list []string, path string) bool {
	if len(list) == 0 {
		return true
	}
	return slices.ContainsFunc(list, func(r string) bool { return routeCovers(r, path) })
}

// routesWithin says whether every route of the inner list lies in the outer one.
func routesWithin(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	if len(inner) == 0 {
		return false
	}
	for _, r := range inner {
		if !routesAllow(outer, r) {
			return false
		}
	}
	return true
}

func routeCovers(route, path string) bool {
	if route == path {
		return true
	}
	prefix, ok := strings.CutSuffix(route, "*")
	return ok && strings.HasPrefix(path, prefix)
}
