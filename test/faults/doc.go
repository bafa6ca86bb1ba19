// Package faults tests clusters of real processes: what is promised of keys, spend and
// availability while nodes and plugins are killed. Run it with make e2e.
//
// Tests that measure a time, or expect that a leader stays, run first and alone. The others wait for conditions, however long those
// take: they are parallel, and run beside the ten minutes of TestMix_RandomFaults.
package faults
