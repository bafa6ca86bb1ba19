// Package egress is the one way out of a node: every connection that it opens to somebody else
// than a client comes from a Dialer, which counts it, asks a proxy where one is configured, and,
// where the cluster is sealed, refuses what no committed configuration names. A linter forbids to
// dial elsewhere.
package egress
