// Package config is what a configuration file says: the node block how this machine runs, all
// other blocks records of the cluster. Package load reads a file, in HCL (package hclfile) or as
// LiteLLM's config.yaml (package litellm).
//
// A file is read as a whole or not at all. Unknown blocks and attributes, missing variables
// and invalid records are errors, each with its file, line and column, and all of them are
// reported at once (see [Error]).
//
// Records are declared by name, and may name records that are not in the file. So a
// declaration holds the record without ids and seals beside the names and secrets that it
// was given: whoever applies it looks the names up, makes ids, seals the secrets and writes
// the commands. [Position] lets it report a name that does not exist at its place.
package config
