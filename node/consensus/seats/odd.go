package seats

import "slices"

// Odd names the nodes whose state hash at one index is not that of most, sorted; none if fewer
// than three told theirs, or no state has a majority.
func Odd(hashes map[string][16]byte) []string {
	if len(hashes) < 3 {
		return nil
	}
	count := map[[16]byte]int{}
	for _, h := range hashes {
		count[h]++
	}
	var odd []string
	for _, n := range count {
		if 2*n > len(hashes) {
			for id, h := range hashes {
				if 2*count[h] <= len(hashes) {
					odd = append(odd, id)
				}
			}
		}
	}
	slices.Sort(odd)
	return odd
}
