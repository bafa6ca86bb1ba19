// Package contract counts the versions of what nodes and plugins say to each other.
//
// The protocol version is agreed upon in the handshake; it changes when an older plugin could
// not go on, which has not happened. Within it there are minors: fields and methods are only
// added, and each side tells the other its minor when it configures (0: a side from before
// minor 5, which did not tell). A side does not ask for what the other's minor does not have, so
// that any minor loads in any other; the newest five are built and run in test/plugins.
package contract

import "strconv"

// Protocol is the version of the .proto files and of the handshake.
const Protocol = 1

// Minor is the newest minor of the protocol, that of this program and this SDK.
const Minor = 9

// What each minor brought. Numbers are never reused.
const (
	MinorFirst     = 1 // guardrails at three hooks, callbacks
	MinorAudit     = 2 // callbacks that are sinks of the audit log
	MinorStreams   = 3 // guardrails that rewrite what is held back of a stream
	MinorFindings  = 4 // guardrails that say what they found
	MinorTold      = 5 // both sides tell their minor
	MinorSources   = 6 // secret sources
	MinorHooks     = 7 // the general hook of guardrails; auth plugins and router filters; secrets that are written
	MinorProviders = 8 // plugins that answer requests in the place of a provider
	MinorBodies    = 9 // guardrails that answer with a body in the client's dialect, at any endpoint
)

// Name is how a plugin's minor is shown: "1.5", or "1.4 or older" for one that did not tell.
func Name(minor uint32) string {
	if minor == 0 {
		return strconv.Itoa(Protocol) + "." + strconv.Itoa(MinorTold-1) + " or older"
	}
	return strconv.Itoa(Protocol) + "." + strconv.FormatUint(uint64(minor), 10)
}
