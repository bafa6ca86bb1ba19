// Package segment is the file of sealed rows: what a row of the request log is, how many of them stand in one
// Parquet file, and the chain of hashes that binds rows and files together (FORMAT.md of package requestlog).
//
// A Writer gives rows their links as it writes them; a File reads them, whole or by groups of which some can be
// passed over; a Check compares what it is shown, segment by segment, with the chain. Which segments there are and
// in which order, the log's list says, which this package does not keep.
package segment
