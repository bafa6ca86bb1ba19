// Package plugins is the host of plugins: it starts each in a process of its own through
// go-plugin's gRPC, pins what it starts by SHA-256, restarts what crashes, kills what hangs or
// grows, and puts what runs behind the guardrail chain, the callback queues, the
// cache of secrets and the gates through which requests ask.
//
// Nothing is allocated and no process is started before Host.Sync names a plugin.
package plugins
