// Package requestlog keeps one row for each request that a node served or refused, and
// answers questions about rows and about spend.
//
// A Log follows the node's journal. One bbolt transaction takes some records, as rows and as
// sums in the cells of package rollup, together with the number up to which the journal has
// been taken: whatever happens in between, each record counts once. Rows of the last hour
// are in bbolt; older ones are sealed into the Parquet files of package segment, which any DuckDB or
// pandas opens (FORMAT.md). Retention removes whole files; the cells stay for longer.
//
// Rows hold names and numbers, never a prompt or an answer. Those are in package contents, if
// the cluster's setting says so and no level of the request says no.
//
// A Cluster asks all nodes, merges their answers and says which nodes gave none.
package requestlog
