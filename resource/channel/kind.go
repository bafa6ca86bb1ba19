package channel

import (
	"slices"
	"strings"
)

// Kind is a kind of alerts.
type Kind struct {
	Name string `json:"name"`
	Help string `json:"help"` // when it is raised
	// LiteLLM is the alert type that says the same there; "": none does.
	LiteLLM string `json:"litellm,omitempty"`
}

// The kinds of alerts.
const (
	AuditBehind         = "audit_behind"
	AuditDropped        = "audit_dropped"
	BudgetThreshold     = "budget_threshold"
	BudgetSoftLimit     = "budget_soft_limit"
	BudgetExhausted     = "budget_exhausted"
	BudgetIncreaseEnded = "budget_increase_ended"
	KeyExpiring         = "key_expiring"
	KeyRotationFailed   = "key_rotation_failed"
	KeyRotationWaiting  = "key_rotation_waiting"
	PricesFailed        = "prices_failed"
	PricesHeld          = "prices_held"
	NamesFull           = "names_full"
	NodeDown            = "node_down"
	NodeQuarantined     = "node_quarantined"
	NodeDisk            = "node_disk"
	DeploymentCooldown  = "deployment_cooldown"
	SpendCaptureLow     = "spend_capture_low"
	SpendCaptureFailed  = "spend_capture_failed"
	Test                = "test"
)

// kinds is the table of kinds, by name.
var kinds = []Kind{
	{AuditBehind, "a sink of the audit log has not taken an entry for a quarter of an hour", ""},
	{AuditDropped, "entries of the audit log were pruned before a sink had taken them, after twice the retention", ""},
	{BudgetExhausted, "a budget refuses requests: all of it is spent, or what is left, a tenth or less, does not hold a request; of budgets that have thresholds", "budget_alerts"},
	{BudgetIncreaseEnded, "a temporary increase of a budget has ended", "budget_alerts"},
	{BudgetSoftLimit, "the spend of a window has reached the budget's soft limit", "budget_alerts"},
	{BudgetThreshold, "the spend of a window has reached one of the budget's thresholds, in per cent of its limit", "budget_alerts"},
	{DeploymentCooldown, "a node has sent nothing to a deployment for the setting's cooldown_after, for it fails", "cooldown_deployment"},
	{KeyExpiring, "a key expires within the setting's key_expiring, and no schedule gives it another secret", ""},
	{KeyRotationFailed, "the new secret of a key could not be delivered; the old one stays", ""},
	{KeyRotationWaiting, "the owner of a key has not fetched its new secret for an hour; the old one stays", ""},
	{NamesFull, "as many end users or tags as the settings counted_customers and counted_tags say have totals of their own; further ones are counted for (other)", ""},
	{NodeDisk, "the disk of a node is so full that it stops writing request logs, or more", "db_exceptions"},
	{NodeDown, "a member of the cluster has been out of reach for the setting's node_down_after", "outage_alerts"},
	{NodeQuarantined, "a node's state differs from the others', and it serves nothing", "db_exceptions"},
	{PricesFailed, "prices could not be downloaded; the old ones go on", "failed_tracking_spend"},
	{PricesHeld, "downloaded prices wait for a person", ""},
	{SpendCaptureFailed, "a provider's bill could not be read for the setting spend_capture_rate_check, or the key for it is missing", "failed_tracking_spend"},
	{SpendCaptureLow, "less of a provider's bill was recorded than the threshold of the setting spend_capture_rate_check", "failed_tracking_spend"},
	{Test, "somebody tries a channel", ""},
}

// Kinds lists the kinds of alerts, by name.
func Kinds() []Kind { return slices.Clone(kinds) }

// IsKind says whether there is a kind of the name.
func IsKind(name string) bool {
	return slices.ContainsFunc(kinds, func(k Kind) bool { return k.Name == name })
}

// OfLiteLLM lists the kinds that one of LiteLLM's alert types covers; none for a type that has
// no meaning here.
func OfLiteLLM(alertType string) []string {
	var all []string
	for _, k := range kinds {
		if k.LiteLLM == alertType {
			all = append(all, k.Name)
		}
	}
	return all
}

// Matches says whether a pattern, a name or a beginning with * behind it, covers a kind.
func Matches(pattern, kind string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(kind, begin)
	}
	return pattern == kind
}
