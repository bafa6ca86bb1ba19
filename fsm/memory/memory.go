// Package memory is what a node serves without its file: every key, packed, and the small
// tables, decoded. DESIGN.md of fsm has the reasons.
package memory
