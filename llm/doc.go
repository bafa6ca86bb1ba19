// Package llm holds the canonical exchange between a client and a provider: the fields of a
// request that the gateway acts on, usage in disjoint classes, one error type, and the
// reader and writer of server-sent events. It imports nothing but the standard library.
package llm
