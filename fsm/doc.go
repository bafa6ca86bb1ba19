// Package fsm is the replicated state machine: the table of commands, their pure Apply
// functions, and their materialisation in one bbolt file. What it holds, in which buckets
// and frames, is told in DESIGN.md beside this file.
package fsm
