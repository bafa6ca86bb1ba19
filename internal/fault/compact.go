package fault

// CompactVariable is the environment variable that has Raft compact its log after so few entries, in a program built
// with the tag, that a test of a node behind the log's begin does not write twenty thousand.
const CompactVariable = "CONCLAVE_FAULT_COMPACT"
