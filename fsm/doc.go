// Package fsm is the replicated state machine: the table of commands, their pure Apply
// functions, and their materialisation in one bbolt file and in memory. What it holds, in
// which buckets and frames, and what the packages below it do, DESIGN.md beside this file
// tells.
//
// To add a command: its struct in command.go, its Apply beside its kin, a number and a row
// in table.go, a sample in table_test.go, and `go test ./fsm -golden` for its golden bytes.
package fsm
