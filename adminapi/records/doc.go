// Package records is what the admin API does with records, whichever door a request came
// through: it lists, finds, creates, replaces, patches, blocks and deletes them, each write
// as one command of the state machine. The routes of /api/v1 and those of package litellm
// are two spellings of these operations; there is no second set of rules beside them.
//
// Noun is the operations that every kind of record has. One file for each kind (key.go,
// team.go, …) fills it with what is its own: how to find records, which command writes one,
// which fields are secrets, what may refer to what. A Document is a record as a client
// writes it, where absent, null and given are three things.
//
// Rights are decided in package adminapi: who may use a route, before; a Caller says what
// came of that. What a key may be given depends on the record, and is asked for as MayGrant.
package records
