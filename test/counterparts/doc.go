// Package counterparts runs the programs that the gateway speaks to, or stand-ins of them that
// check what it says. Run it with make e2e.
package counterparts
