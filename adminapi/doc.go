// Package adminapi is the HTTP API for administrators: JSON in, one command of the state
// machine out. It serves /api/v1, whose OpenAPI document it makes itself, and LiteLLM's
// management paths (/key/generate, /team/new, …) on the same functions.
//
// A request goes through request.go (who is it, may he, wait for the index asked for), then
// through one generic set of handlers (noun.go) that each kind of record (key.go, team.go,
// …) fills with what is its own: how to list and find records, which command writes one,
// which fields are secrets. What may be done is decided in authz.go alone; what an error
// looks like, in problem.go and, for LiteLLM's paths, in compat.go.
//
// What a configuration file declares becomes one entry in apply.go. That and LiteLLM's paths
// stand here, and make the package larger than most, because they must go through the same
// unexported rights, references and seals as everything else: a second door beside them is
// how gateways came to have two sets of rules.
//
// The package knows neither the consensus nor the node: what it needs of them are the
// interfaces in server.go.
package adminapi
