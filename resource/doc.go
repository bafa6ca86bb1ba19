// Package resource holds the records that Conclave replicates: keys, teams, models,
// deployments and the rest, one file each, together with their validation and the
// immutable view of them that the data path reads.
//
// A record has one set of tags. The same struct is CBOR in the log and in the state
// machine's buckets, and JSON in the admin API. Fields are only ever added, every field is
// omitempty, and old bytes are repaired by Canonicalize. The package imports nothing but
// the standard library, so that every other package may import it.
package resource
