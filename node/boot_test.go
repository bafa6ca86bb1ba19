package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/secret"
)

func TestFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seat := func(name string) Seat {
		return Seat{Name: name, DataDir: filepath.Join(dir, name), Cluster: name + ":1"}
	}
	if err := Found(secret.New("m"), secret.Text{}, seat("a"), seat("b")); err != nil {
		t.Fatal(err)
	}
	a, err := load(t.Context(), &Config{DataDir: seat("a").DataDir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t.Context(), &Config{DataDir: seat("b").DataDir})
	if err != nil {
		t.Fatal(err)
	}
	if a.NodeID == b.NodeID || a.ClusterID != b.ClusterID || a.kek.ID() != b.kek.ID() {
		t.Errorf("nodes %s and %s of clusters %s and %s: want two nodes of one", a.NodeID, b.NodeID, a.ClusterID, b.ClusterID)
	}
	if a.founding == nil || a.founding.Bootstrap == nil || b.founding == nil || b.founding.Bootstrap != nil {
		t.Error("want the first entry with the first node only")
	}
	if len(a.founding.Voters) != 2 || len(b.founding.Voters) != 2 {
		t.Errorf("voters %v and %v, want both nodes in both", a.founding.Voters, b.founding.Voters)
	}
	err = Found(secret.New("m"), secret.Text{}, seat("c"), seat("a"))
	if err == nil {
		t.Error("a folder that holds a node was founded again")
	}
	if _, err := os.Stat(seat("c").DataDir); err == nil {
		t.Error("the refusal has written into another folder")
	}
	for _, name := range []string{"a", "b"} {
		checkModes(t, seat(name).DataDir)
	}
}

// checkModes demands that nobody but the owner may read anything in a data folder.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBoot_badFolders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file string
		content    string // "": removed
		edit       func(*Config)
	}{
		{"founding file is damaged", fileFounding, "{", nil},
		{"KEK is damaged", "kek", "zz", nil},
		{"KEK is lost", "kek", "", nil},
		{"folder of conclave dev", fileDev, "{}", nil},
		{"configured KEK is not one", "", "", func(c *Config) { c.KEK = secret.New("short") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Name: "a", DataDir: filepath.Join(t.TempDir(), "a"), Listen: "127.0.0.1:0", Cluster: "127.0.0.1:1"}
			if tt.edit == nil {
				if err := Found(secret.New("m"), secret.Text{}, Seat{Name: "a", DataDir: cfg.DataDir, Cluster: cfg.Cluster}); err != nil {
					t.Fatal(err)
				}
			} else {
				cfg.Bootstrap = true
				tt.edit(&cfg)
			}
			if path := filepath.Join(cfg.DataDir, tt.file); tt.file != "" && tt.content != "" {
				if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if tt.file != "" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := boot(t.Context(), &cfg); err == nil {
				t.Error("booted")
			} else if strings.Contains(err.Error(), "short") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:4000": true, "127.8.9.1:1": true, "[::1]:4000": true, "localhost:4000": true,
		":4000": false, "0.0.0.0:4000": false, "[::]:4000": false, "10.0.0.1:4000": false, "localhost.example.com:1": false,
		"[::ffff:127.0.0.1]:1": true, "[::ffff:10.0.0.1]:1": false, "": false, "127.0.0.1": false, "127.1:1": false, "example.com:1": false,
	} {
		if got := loopback(addr); got != want {
			t.Errorf("loopback(%q) = %v, want %v", addr, got, want)
		}
	}
}
