// Package raftstore compares the log store of package node/consensus/logstore with
// raft-boltdb: the same behavior where raft needs it, and what each costs. It is a module of
// its own because raft-boltdb 2.3.1 builds with raft 1.8 only if a version of go-metrics is
// excluded, and a module with an exclusion cannot be installed with "go install". Run it with
//
//	cd test/raftstore && go test ./...
//	cd test/raftstore && go test -bench . -benchtime 2s ./...
package raftstore
