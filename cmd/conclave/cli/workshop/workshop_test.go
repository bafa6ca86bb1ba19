package workshop_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/workshop"
	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

const root = "../../../.." // of the module

// goTool runs the go command in the folder, without a network.
func goTool(t *testing.T, folder string, args ...string) string {
	t.Helper()
	return goToolWith(t, folder, nil, args...)
}

// goToolWith is goTool with more variables of the environment.
func goToolWith(t *testing.T, folder string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = folder, append(append(os.Environ(), "GOPROXY=off", "GOFLAGS=-trimpath -ldflags=-w", "GOWORK=off", "CGO_ENABLED=0"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestNew_PassesTheKit makes a plugin of each kind, builds it offline, and has its own tests put
// it through the conformance kit.
func TestNew_PassesTheKit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, kind string
		least      int
		without    int // checks that the kit leaves out: of streams
	}{
		{"guardrail", "guardrail", 40, 0},
		{"hook", "guardrail", 35, 5},
		{"callback", "callback", 20, 0},
		{"secret_source", "secret_source", 25, 0},
		{"auth", "auth", 40, 0},
		{"router_filter", "router_filter", 30, 0},
		{"provider", "provider", 20, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "shout")
			if _, err := (workshop.New{Name: "shout", Kind: tt.kind, Hook: tt.name == "hook", Folder: folder, SDK: root}).Create(); err != nil {
				t.Fatal(err)
			}
			out := goTool(t, folder, "test", "-run", "TestProgram", "-v", "./...")
			if n := strings.Count(out, "--- PASS: TestProgram/"); n < tt.least {
				t.Errorf("the kit made %d checks, want %d:\n%s", n, tt.least, out)
			}
			if n := strings.Count(out, "--- SKIP"); n != tt.without {
				t.Errorf("the kit left out %d checks, want %d:\n%s", n, tt.without, out)
			}
		})
	}
}

// TestNew_Vendored makes a plugin of each kind, puts all that it needs into its folder, and builds and tests it where Go has no
// module and no network.
func TestNew_Vendored(t *testing.T) {
	if os.Getenv("CONCLAVE_FULL") == "" {
		t.Skip("compiles the SDK once more, out of another folder: CONCLAVE_FULL=1")
	}
	for _, kind := range manifest.Kinds {
		folder := filepath.Join(t.TempDir(), "with a space", "shout")
		if err := os.Mkdir(filepath.Dir(folder), 0o750); err != nil {
			t.Fatal(err)
		}
		if _, err := (workshop.New{Name: "shout", Kind: kind, Folder: folder, SDK: root}).Create(); err != nil {
			t.Fatal(err)
		}
		goTool(t, folder, "mod", "vendor")
		mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		sdk, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := bytes.ReplaceAll(mod, []byte(sdk), []byte("/nowhere/conclave")) // the machine has no source of Conclave either
		list, err := os.ReadFile(filepath.Join(folder, "vendor/modules.txt"))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "vendor/modules.txt"), bytes.ReplaceAll(list, []byte(sdk), []byte("/nowhere/conclave")), 0o600)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, "go.mod"), elsewhere, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		out := goToolWith(t, folder, []string{"GOMODCACHE=" + filepath.Join(t.TempDir(), "empty")}, "test", "-run", "TestProgram", "-v", "./...")
		if n := strings.Count(out, "--- PASS: TestProgram/"); n < 20 {
			t.Errorf("%s: the kit made %d checks:\n%s", kind, n, out)
		}
	}
}

// TestExamples keeps docs/examples what "conclave plugin new" writes.
func TestExamples(t *testing.T) {
	t.Parallel()
	all := []workshop.New{{Kind: "guardrail", Hook: true}}
	for _, kind := range manifest.Kinds {
		all = append(all, workshop.New{Kind: kind})
	}
	for _, n := range all {
		folder := filepath.Join(t.TempDir(), "x")
		called := strings.ReplaceAll(n.Kind, "_", "-")
		if n.Hook {
			called = "hook"
		}
		n.Name, n.Folder = "example-"+called, folder
		names, err := n.Create()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			want, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(root, "docs/examples", called, name))
			if d := cmp.Diff(string(want), string(got)); err != nil || d != "" {
				t.Errorf("docs/examples/%s/%s (-want +got): %v\n%s", called, name, err, d)
			}
		}
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		n    workshop.New
		want string
	}{
		{"a path for a name", workshop.New{Name: "../x", Kind: "guardrail"}, "name"},
		{"a hook that is no guardrail", workshop.New{Name: "x", Kind: "auth", Hook: true, Folder: filepath.Join(dir, "c")}, "guardrail"},
		{"an unknown kind", workshop.New{Name: "x", Kind: "router", Folder: filepath.Join(dir, "a")}, "kind"},
		{"a module that is no path", workshop.New{Name: "x", Kind: "guardrail", Module: "a b", Folder: filepath.Join(dir, "d")}, "module"},
		{"a folder that is there", workshop.New{Name: "x", Kind: "guardrail", Folder: dir}, "exists"},
		{"an SDK that is not there", workshop.New{Name: "x", Kind: "guardrail", Folder: filepath.Join(dir, "b"), SDK: dir}, "SDK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.n.Create(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Create = %v, want an error with %q", err, tt.want)
			}
			if _, err := os.Stat(tt.n.Folder); tt.n.Folder != dir && !os.IsNotExist(err) {
				t.Errorf("a folder is left of what was refused: %v", err)
			}
		})
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "shout")
	if _, err := (workshop.New{Name: "shout", Kind: "guardrail", Folder: folder}).Create(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (workshop.Pack{Folder: folder}).Write(); err == nil || !strings.Contains(err.Error(), "linux") {
		t.Errorf("without binaries: %v", err) // names the first
	}
	if err := os.Mkdir(filepath.Join(folder, "dist"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"linux-amd64", "linux-arm64"} {
		if err := os.WriteFile(filepath.Join(folder, "dist", name), []byte("binary "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(t.TempDir(), "publisher.key")
	public, err := workshop.Keygen(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workshop.Keygen(key); err == nil {
		t.Error("a key is overwritten")
	}
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", st.Mode(), err)
	}
	out := filepath.Join(t.TempDir(), "x.cpb")
	if _, _, err := (workshop.Pack{Folder: folder, Version: "1.2", Key: key, Out: out}).Write(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pack.Read(file)
	if err != nil || b.Manifest.Version != "1.2" || len(b.Manifest.Binaries) != 2 || len(b.Manifest.Schema) == 0 {
		t.Fatalf("read back: %+v, %v", b, err)
	}
	if err := (manifest.Trust{Publishers: signing.Trust{public}, Require: true}).Check(b.Text, b.Signature); err != nil {
		t.Errorf("its publisher's signature: %v", err)
	}
}
