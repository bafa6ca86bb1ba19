// Package clients runs the official SDKs against real nodes. Run it with make e2e.
package clients
