// Package plugins tests plugins as their authors make them: in Python over the same .proto files,
// and in Go against SDKs of the past.
//
// The tests have the build tag e2e. CONCLAVE_BIN is the binary under test, and
// CONCLAVE_PLUGIN_PYTHON an interpreter with requirements.txt; make e2e sets both.
package plugins
