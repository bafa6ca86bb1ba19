// Package proxy is the data path: what happens between a client's request for inference and
// the last byte of its answer. It only reads the replicated state, through the catalog, and
// never waits for Raft or a disk but for the journal's write.
//
// The story of one request, POST /v1/chat/completions:
//
//	server.go      finds the route, gives the request its id, recovers from panics
//	pipeline.go    runs the route's steps, top to bottom, on the one catalog of the request:
//	access.go        who is it, may it call this from there; which model does it ask for
//	body.go          the body, whole, in a pooled buffer, without what no client may name (package body),
//	                 with the stored prompt and the files that it names (packages prompt and attachment)
//	policies.go      for whom is it; what its levels demand of it (package policy): parameters, end user, session, sizes
//	admission.go     estimate (packages quote and view); reserve one request and the estimated tokens, then the estimated cost
//	guard.go         guardrails before: pass, rewrite (and decide again) or block
//	extend.go        what an attempt alone falls under: its deployment's limits and budgets
//	dispatch.go      plan; journal the reservation; attempt after attempt, until the first byte
//	answer.go        the whole answer: guardrails after, settle, relay the bytes as they came
//	stream.go        or the stream: guardrails during, event by event; settle; the last event
//	settle.go        usage → price → limits and budget → journal record
//	reply/error.go   the one place where an error becomes HTTP
//
// What the gateway asks itself goes the same way, with other first steps: judge.go for guardrails that
// ask models, healthcheck.go for health checks by requests.
//
// Routes are built by newRoute alone (route.go), which refuses a route that leaves a step
// out. A step that does not apply is named with its reason, so that it can be seen.
//
// The key is checked before the body is read, so that strangers cannot make a node buffer
// their bytes. Nothing inside mentions http.ResponseWriter: reply.Writer is the seam.
package proxy
