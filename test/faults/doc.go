// Package faults tests clusters of real processes: what is promised of keys, spend and
// availability while nodes and plugins are killed. Run it with make e2e.
package faults
