// Package keyset keeps the keys that a command has written in an order, so that one command
// of ten thousand records finds those with a prefix as fast as one of ten.
package keyset

import (
	"iter"
	"slices"
	"strings"
)

// maxFresh is how many keys are searched one by one; more are sorted in first.
const maxFresh = 256

// Set is a set of keys. The zero value is empty. It is not safe for concurrent use.
type Set struct {
	sorted []string
	fresh  []string // not sorted in yet
}

// Add adds a key that is not in the set.
func (k *Set) Add(key string) { k.fresh = append(k.fresh, key) }

// sort sorts the fresh keys in, if they are many: who only adds does not pay for it.
func (k *Set) sort() {
	if len(k.fresh) < maxFresh {
		return
	}
	slices.Sort(k.fresh)
	k.sorted = merge(k.sorted, k.fresh)
	k.fresh = k.fresh[:0]
}

// merge joins two sorted lists.
func merge(a, b []string) []string {
	out := make([]string, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// Clear empties the set; small memory is used again.
func (k *Set) Clear() {
	k.sorted, k.fresh = nil, k.fresh[:0]
	if cap(k.fresh) > maxFresh {
		k.fresh = nil
	}
}

// With yields the keys that begin with the prefix, in no order.
func (k *Set) With(prefix string) iter.Seq[string] {
	k.sort()
	return func(yield func(string) bool) {
		at, _ := slices.BinarySearch(k.sorted, prefix)
		for _, key := range k.sorted[at:] {
			if !strings.HasPrefix(key, prefix) {
				break
			}
			if !yield(key) {
				return
			}
		}
		for _, key := range k.fresh {
			if strings.HasPrefix(key, prefix) && !yield(key) {
				return
			}
		}
	}
}
