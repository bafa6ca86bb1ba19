// Package auditlog does what one node does for the audit log beside applying it. Events takes
// what people do without changing a record (sign-ins, failures, exports) into the log, however
// many there are. Keeper works on the leader alone: it delivers entries to the configured
// sinks, each at least once, and prunes what is older than the retention.
package auditlog
