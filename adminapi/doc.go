// Package adminapi is the HTTP API for administrators: JSON in, one command of the state
// machine out. It serves /api/v1, whose OpenAPI document it makes itself, and the management
// paths of package litellm.
//
// A request goes through request.go (who is it, may he, wait for the index asked for) to an
// operation that routes.go registers for every kind of record, and so to package records,
// which does the work, for LiteLLM's paths as well: a second door with rules of its own is
// how gateways came to have two sets of them. What a client sees of a record is in view.go.
// What may be done is decided in authz.go alone; what an error looks like, in problem.go.
// What a configuration file declares goes past HTTP, through package declare.
//
// The package knows neither the consensus nor the node: what it needs of them are the
// interfaces in server.go.
package adminapi
