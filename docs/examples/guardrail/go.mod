module example-guardrail

go 1.26.0
