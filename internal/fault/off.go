//go:build !conclave_fault

package fault

// Built says whether this program has fail points.
const Built = false

// Point does nothing.
func Point(string) {}
