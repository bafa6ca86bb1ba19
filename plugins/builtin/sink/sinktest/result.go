package sinktest

import "github.com/conclave-llm/conclave/plugins/callback"

func guardrailResult(name, hook, status, found string) callback.GuardrailResult {
	return callback.GuardrailResult{Guardrail: name, Hook: hook, Status: status, Found: found}
}
