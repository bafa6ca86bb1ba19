// Package proto holds the gRPC contract between Conclave and its plugins, and the code that
// scripts/generate makes of it.
package proto
