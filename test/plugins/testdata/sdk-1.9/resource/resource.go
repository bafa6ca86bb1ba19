// Package resource is what the SDK needs of the replicated records.
package resource

// Hook is a moment of a request at which a guardrail is asked.
type Hook string

// The hooks.
const (
	HookBefore  Hook = "before"
	HookDuring  Hook = "during"
	HookAfter   Hook = "after"
	HookFailure Hook = "failure"
	HookLogging Hook = "logging"
)

// AuditEntry tells who changed what.
type AuditEntry struct {
	Number uint64 `json:"number"`
}
