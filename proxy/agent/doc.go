// Package agent lets a model use the tools of MCP servers within one request: of the tools of
// the type "mcp" in OpenAI's chat completions and responses, and of Anthropic's "mcp_servers".
//
//	request.go     what a request names: servers, their tools, who approves
//	offer.go       the servers' tools as functions of the model
//	run.go         round after round: the model is asked, the tools that it calls are called
//	chat.go …      the conversation in a dialect: the next request, what an answer calls, the answer
//
// No provider is ever given a server: the gateway lists and calls the tools itself, at servers
// of its registry that the key may use, and any other is refused. Every round is a request of
// its own, and every call a call of the gateway's: each passes limits, budgets, guardrails and
// the ledger. A round that cannot be made ends the request.
package agent
