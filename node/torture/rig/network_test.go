package rig

import "testing"

// TestSubnet numbers all networks that may be: no two have the same.
func TestSubnet(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for id := range spaces {
		s := subnet(id)
		if other, ok := seen[s]; ok {
			t.Fatalf("networks %d and %d have the subnet %s", other, id, s)
		}
		seen[s] = id
	}
	if got := subnet(spaces - 1); got != "10.255.249" {
		t.Errorf("the last one: got %s", got)
	}
}
