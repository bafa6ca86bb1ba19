package adminapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/delegate"
)

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

// authorise decides whether the caller, who acts for the person d or for none, may use the
// route, and if only for what is his own. It is the only place that decides so, and refuses
// whatever it does not know.
func authorise(who *resource.Principal, d *delegate.Delegate, route, path string) (ownOnly bool, err error) {
	r := rights[route].of(who, d)
	if spendRoutes[route] && who != nil && who.Key != nil && who.Key.Permissions[resource.PermissionSpend] {
		r = allow
	}
	if err := typeAllows(who, rights[route], path); err != nil {
		return false, err
	}
	if r != allow && r != own {
		return false, &llm.Error{
			Kind: llm.Forbidden, Code: "forbidden",
			Message: fmt.Sprintf("the key may not do this; it takes the master key or a key with the role %s%s", resource.RoleAdmin, rights[route].others()),
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

// others names the least of the people who may use the route, for an error.
func (r row) others() string {
	for _, p := range []struct {
		cell right
		name string
	}{{r.internal, "a user"}, {r.team, "an admin of the team"}, {r.org, "an admin of the organization"}} {
		if p.cell == allow || p.cell == own {
			return ", or of " + p.name
		}
	}
	return ""
}

func (r row) of(who *resource.Principal, d *delegate.Delegate) right {
	switch {
	case who == nil:
		return deny
	case who.IsAdmin():
		return r.admin
	case who.MayRead():
		return r.viewer
	case d.Standing() > delegate.Nobody:
		return [...]right{
			delegate.Reader: r.reader, delegate.Internal: r.internal, delegate.TeamAdmin: r.team, delegate.OrganizationAdmin: r.org,
		}[d.Standing()]
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
func mayGrant(by records.Caller, before, after *resource.Key) error {
	who := &by.Who
	if by.Delegate != nil {
		return mayDelegate(by.Delegate, before, after)
	}
	if !who.IsAdmin() {
		return fmt.Errorf("write key: %w", resource.ErrForbidden)
	}
	if who.Master {
		return nil
	}
	if before == nil || before.Type != after.Type {
		if err := after.Type.Within(who.Key.Type); err != nil {
			return err
		}
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

// mayDelegate is mayGrant for somebody who manages a part of the cluster. The state machine
// asks the same again, with what it bounds.
func mayDelegate(d *delegate.Delegate, before, after *resource.Key) error {
	if before == nil {
		return d.MayPut(nil, after)
	}
	return d.MayPut(before, after)
}

// mayLearn decides whether the caller may be told a key's secret: who learns it gets all that
// the key has.
func mayLearn(by records.Caller, k *resource.Key) error {
	if by.Delegate != nil {
		return by.Delegate.May(delegate.Rotate, k, nil)
	}
	return mayGrant(by, nil, k)
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
