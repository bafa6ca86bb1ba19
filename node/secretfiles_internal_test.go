package node

import (
	"os"
	"path/filepath"
	"testing"
)

// Another text in a file is noticed once, and so is that it is gone or there again.
func TestSecretFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	ref := "file://" + path
	var f secretFiles
	for _, tt := range []struct {
		name, text string // "": the file is not there
		changed    bool
	}{
		{"not there", "", false},
		{"there", "one", true},
		{"as before", "one", false},
		{"rotated", "two", true},
		{"another line end", "two\n", false},
		{"gone", "", true},
		{"still gone", "", false},
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if tt.text != "" {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.changed(); got != tt.changed {
			t.Errorf("%s: changed %v, want %v", tt.name, got, tt.changed)
		}
		if f.changed() {
			t.Errorf("%s: it is told twice", tt.name)
		}
		if got, err := f.resolve(ref); (err == nil) != (tt.text != "") || (err == nil) && got.Reveal() != tt.text[:3] {
			t.Errorf("%s: got %q, %v", tt.name, got.Reveal(), err)
		}
	}
}
