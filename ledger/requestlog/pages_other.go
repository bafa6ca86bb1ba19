//go:build !linux

package requestlog

import bolt "go.etcd.io/bbolt"

// forgetPages does nothing: only Linux counts the pages of a mapped file as this process's.
func forgetPages(*bolt.Tx) {}
