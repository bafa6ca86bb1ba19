// Package mcp is the gateway of the Model Context Protocol: it serves the tools, prompts and
// resources of the cluster's MCP servers as one server, at /mcp, and of one of them at
// /mcp/{server}.
//
//	gateway.go    the gateway, its paths, and the routes to it
//	admit.go      who asks: the steps before the protocol is read
//	authorise.go  which servers and tools a caller has: the one place that says so
//	serve.go      the protocol's methods
//	call.go       a call: limits, budget, guardrails, journal, the server, settlement
//	judge.go      what of a call guardrails see
//	links.go      the connections to the servers, shared by the node's callers
//	link.go       one of them, and what its server offers
//	dial.go       a connection over HTTP
//	process.go    a server that is a process of this node
//
// No state is kept between requests of a client, so any node answers any request of a session.
// Only a server's record makes the node dial or start anything.
package mcp
