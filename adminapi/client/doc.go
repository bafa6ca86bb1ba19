// Package client speaks Conclave's admin API, /api/v1. It holds the wire types, which the
// server (package adminapi) uses as well, and a small typed client that the command line
// and the tests share. It remembers the newest index that it has seen, so that a read
// through another node never answers from before an own write.
package client
