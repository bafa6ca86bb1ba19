// Package segment keeps a log of numbered records in files of a folder: an append is one
// write and one sync. Every record carries a checksum, and a link which depends on all records
// before it in the log, so that neither a damaged record nor one left over from before a cut
// passes for one that was written. What a crash leaves at the end is told apart from damage:
// only what was not acknowledged is cut off.
//
// The layout, big-endian. A file is named after the index of its first record, in 20 digits:
//
//	 0  [8] "CNCLLOG1"              28 records, one after the other, then zeros:
//	 8  u64 index of the first         u32 size; its top bit: begins a batch
//	16  u32 link of the record before  u32 CRC32C of the record
//	20  u32 a random number            u32 link: CRC32C of the link before, size, checksum
//	24  u32 CRC32C of 0..24            the record
//
// The link before the first record of a file is the CRC32C of bytes 8 to 24.
package segment
