package resource

import (
	"fmt"
	"slices"
	"strings"
)

// KeyType narrows what a key is for, whatever its role and routes are.
type KeyType string

// The types of keys. The zero value narrows nothing.
const (
	TypeAny        KeyType = ""
	TypeInference  KeyType = "llm_api"    // models, and no management
	TypeManagement KeyType = "management" // management, and no models
	TypeReadOnly   KeyType = "read_only"  // reads of the management, and nothing else
)

// PermissionSpend lets a key read LiteLLM's spend of the whole cluster.
const PermissionSpend = "get_spend_routes"

// PermissionNames are the switches of keys that are no names of guardrails.
var PermissionNames = []string{PermissionSpend}

// UnservedPermissions are switches of LiteLLM that nothing here obeys: keys are not given them.
var UnservedPermissions = []string{"allow_pii_controls"} // no request says which guardrail masks what

// cacheControls are what a request can ask of a cache.
var cacheControls = []string{"no-cache", "no-store", "s-maxage", "ttl", "namespace"}

// Access is what only keys may be allowed or denied, beside the policy. An empty list allows
// all but for DeniedPassThrough.
type Access struct {
	Type           KeyType         `json:"type,omitempty"`
	Permissions    map[string]bool `json:"permissions,omitempty"`     // PermissionNames and guardrails
	Prompts        []string        `json:"prompts,omitempty"`         // templates
	CacheControls  []string        `json:"cache_controls,omitempty"`  // what a request may ask of a cache
	IncreaseCap    *Money          `json:"increase_cap,omitempty"`    // the most that the key may raise a budget by for a time
	CustomerBudget string          `json:"customer_budget,omitempty"` // id or name of the shared budget that each end user has who has none of his own
}

// lists are the lists of names that a key has, by field.
func (a *Access) lists() map[string][]string {
	return map[string][]string{"prompts": a.Prompts, "cache_controls": a.CacheControls}
}

func (a *Access) checkAccess() error {
	switch a.Type {
	case TypeAny, TypeInference, TypeManagement, TypeReadOnly:
	default:
		return invalidf("type", "%q is not one of \"\", llm_api, management, read_only", a.Type)
	}
	if err := validCustomerBudget(a.CustomerBudget); err != nil {
		return err
	}
	lists := a.lists()
	for _, field := range sortedKeys(lists) {
		if err := validNames(field, lists[field]); err != nil {
			return err
		}
	}
	for i, c := range a.CacheControls {
		if !slices.Contains(cacheControls, c) {
			return invalidf(fmt.Sprintf("cache_controls[%d]", i), "%q is not one of %s", c, strings.Join(cacheControls, ", "))
		}
	}
	if a.IncreaseCap != nil && (*a.IncreaseCap < 0 || *a.IncreaseCap > MaxMoney) {
		return invalidf("increase_cap", "%s is not between 0 and %s", *a.IncreaseCap, MaxMoney)
	}
	return validNames("permissions", sortedKeys(a.Permissions))
}

// GrantedBy returns an *Invalid for the first thing beside models that the key is granted and
// the key that grants it has not; called finds what else an MCP server is called.
func (k *Key) GrantedBy(grantor *Key, called Called) error {
	if err := k.listsWithin(&grantor.Access); err != nil {
		return err
	}
	if len(grantor.PassThrough) > 0 && !listWithin(k.PassThrough, grantor.PassThrough) {
		return invalidf("passthrough_routes", "is more than the key that grants it has")
	}
	if err := k.Objects.Within(grantor.Objects, called); err != nil {
		return err
	}
	for _, path := range grantor.DeniedPassThrough {
		if !slices.Contains(k.DeniedPassThrough, path) {
			return invalidf("denied_passthrough_routes", "leaves out %s, which is denied to the key that grants it", path)
		}
	}
	return k.takenWithin(&grantor.Access)
}

// Within returns an *Invalid for the first field that grants more than the grantor has.
func (a *Access) Within(grantor *Access) error {
	if err := a.Type.Within(grantor.Type); err != nil {
		return err
	}
	if err := a.listsWithin(grantor); err != nil {
		return err
	}
	return a.takenWithin(grantor)
}

// Within returns an *Invalid if a key of the type is for something that one of the grantor's type is not for.
func (t KeyType) Within(grantor KeyType) error {
	if grantor == TypeAny || t == grantor || grantor == TypeManagement && t == TypeReadOnly {
		return nil
	}
	return invalidf("type", "%q is more than the key that grants it has, which is of the type %q", t, grantor)
}

func (a *Access) listsWithin(grantor *Access) error {
	above := grantor.lists()
	mine := a.lists()
	for _, field := range sortedKeys(above) {
		if limit := above[field]; len(limit) > 0 && !listWithin(mine[field], limit) {
			return invalidf(field, "is more than the key that grants it has")
		}
	}
	return nil
}

// takenWithin looks at what is switched on or capped.
func (a *Access) takenWithin(grantor *Access) error {
	for _, name := range sortedKeys(a.Permissions) {
		if has, set := grantor.Permissions[name]; set && !has && a.Permissions[name] {
			return invalidf("permissions."+name, "is more than the key that grants it has")
		}
	}
	if most := grantor.IncreaseCap; most != nil && (a.IncreaseCap == nil || *a.IncreaseCap > *most) {
		return invalidf("increase_cap", "is more than the %s of the key that grants it", *most)
	}
	return nil
}

func listWithin(inner, outer []string) bool {
	for _, n := range inner {
		if !AllowsRoute(outer, n) {
			return false
		}
	}
	return len(inner) > 0
}
