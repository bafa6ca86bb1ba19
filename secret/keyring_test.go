package secret_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

func newKeyring(t testing.TB) *secret.Keyring {
	t.Helper()
	kek, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	return secret.NewKeyring(kek)
}

func addDEK(t testing.TB, k *secret.Keyring) string {
	t.Helper()
	id, wrapped, err := k.NewDEK()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.AddDEK(id, wrapped); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestKeyring_Open(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	if k.Ready() {
		t.Error("an empty keyring is ready")
	}
	if _, err := k.Seal(secret.New("x"), "credential", "c1", "api_key"); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("Seal without a key: got %v, want ErrNoKey", err)
	}
	addDEK(t, k)
	sealed, err := k.Seal(secret.New("sk-secret"), "credential", "c1", "api_key")
	if err != nil {
		t.Fatal(err)
	}
	newest := addDEK(t, k) // the old box still opens
	flipped := func(i int) *resource.Sealed {
		c := *sealed
		c.Box = bytes.Clone(c.Box)
		c.Box[(i+len(c.Box))%len(c.Box)] ^= 1
		return &c
	}
	other := *sealed
	other.DEK = newest
	unknown := *sealed
	unknown.DEK = "dek_other"
	short := *sealed
	short.Box = short.Box[:20]
	for _, tt := range []struct {
		name            string
		sealed          *resource.Sealed
		kind, id, field string
		want            error
	}{
		{"its own place", sealed, "credential", "c1", "api_key", nil},
		{"another kind", sealed, "plugin", "c1", "api_key", secret.ErrWrongKey},
		{"another record", sealed, "credential", "c2", "api_key", secret.ErrWrongKey},
		{"another field", sealed, "credential", "c1", "token", secret.ErrWrongKey},
		{"names that join to the same text", sealed, "credentialc", "1", "api_key", secret.ErrWrongKey},
		{"another data key", &other, "credential", "c1", "api_key", secret.ErrWrongKey},
		{"a data key that is not there", &unknown, "credential", "c1", "api_key", secret.ErrNoKey},
		{"a flipped bit in the nonce", flipped(0), "credential", "c1", "api_key", secret.ErrWrongKey},
		{"a flipped bit in the text", flipped(13), "credential", "c1", "api_key", secret.ErrWrongKey},
		{"a flipped bit in the tag", flipped(-1), "credential", "c1", "api_key", secret.ErrWrongKey},
		{"a short box", &short, "credential", "c1", "api_key", secret.ErrWrongKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := k.Open(tt.sealed, tt.kind, tt.id, tt.field)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			if err == nil && got.Reveal() != "sk-secret" {
				t.Errorf("got %q, want the secret", got.Reveal())
			}
		})
	}
}

func TestKeyring_fingerprints(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	addDEK(t, k)
	a, _ := k.Seal(secret.New("x"), "credential", "c1", "api_key")
	b, _ := k.Seal(secret.New("x"), "credential", "c2", "api_key")
	c, _ := k.Seal(secret.New("y"), "credential", "c3", "api_key")
	if a.Fingerprint != b.Fingerprint || a.Fingerprint == c.Fingerprint {
		t.Errorf("got %s %s %s, want the first two equal and the third another", a, b, c)
	}
	if bytes.Equal(a.Box, b.Box) || bytes.Contains(a.Box, []byte("x-secret")) {
		t.Error("boxes repeat")
	}
}

func TestKeyring_AddDEK_wrongKEK(t *testing.T) {
	t.Parallel()
	k, o := newKeyring(t), newKeyring(t)
	id, wrapped, err := o.NewDEK()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.AddDEK(id, wrapped); !errors.Is(err, secret.ErrWrongKey) {
		t.Errorf("got %v, want ErrWrongKey", err)
	}
	if err := o.AddDEK("dek_other", wrapped); !errors.Is(err, secret.ErrWrongKey) {
		t.Errorf("under another id: got %v, want ErrWrongKey", err)
	}
}

func TestKEK_files(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kek, err := secret.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kek")
	for range 2 { // saving the same again is no error
		if err := kek.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	got, err := secret.LoadKEK(path)
	if err != nil || got.ID() != kek.ID() {
		t.Errorf("LoadKEK = %v, %v, want %v", got, err, kek)
	}
	other, _ := secret.NewKEK()
	if err := other.Save(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saving another over it: got %v, want fs.ErrExist", err)
	}
	raw := filepath.Join(dir, "raw")
	if err := os.WriteFile(raw, kek.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := secret.LoadKEK(raw); err != nil || got.ID() != kek.ID() {
		t.Errorf("LoadKEK of raw bytes = %v, %v, want %v", got, err, kek)
	}
	for name, write := range map[string]func(string) error{
		"readable by others": func(p string) error { return os.WriteFile(p, kek.Bytes(), 0o644) },
		"too short":          func(p string) error { return os.WriteFile(p, []byte("abcd"), 0o600) },
		"no file":            func(string) error { return nil },
	} {
		p := filepath.Join(dir, name)
		if err := write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.LoadKEK(p); err == nil {
			t.Errorf("%s: LoadKEK gave no error", name)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Setenv("CONCLAVE_TEST_SECRET", "from-env")
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	full, empty := write("full", "from-file\n"), write("empty", "\n")
	for _, tt := range []struct {
		name, ref, want string
		reason          string // of the error; "": there is none
	}{
		{"a literal", "sk-1", "sk-1", ""},
		{"nothing", "", "", ""},
		{"a variable", "env://CONCLAVE_TEST_SECRET", "from-env", ""},
		{"LiteLLM's spelling", "os.environ/CONCLAVE_TEST_SECRET", "from-env", ""},
		{"a variable that is not set", "env://CONCLAVE_TEST_NOT_SET", "", "not_found"},
		{"a file", "file://" + full, "from-file", ""},
		{"an empty file", "file://" + empty, "", "malformed"},
		{"a relative path", "file://x/y", "", "malformed"},
		{"no file", "file://" + dir + "/none", "", "not_found"},
		{"a folder", "file://" + dir, "", "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := secret.Resolve(tt.ref)
			reason := ""
			if u, ok := errors.AsType[*secret.Unresolved](err); ok {
				reason = u.Reason
			}
			if (err != nil) != (tt.reason != "") || reason != tt.reason || got.Reveal() != tt.want {
				t.Errorf("Resolve(%q) = %q, %v, want %q, an *Unresolved of the reason %q", tt.ref, got.Reveal(), err, tt.want, tt.reason)
			}
		})
	}
}

func BenchmarkKeyring_Open(b *testing.B) {
	k := newKeyring(b)
	addDEK(b, k)
	s, err := k.Seal(secret.New("sk-secret"), "credential", "c1", "api_key")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(s, "credential", "c1", "api_key"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestKeyring_Derive(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	if _, err := k.Derive("a"); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("an empty keyring derives: %v", err)
	}
	addDEK(t, k)
	derive := func(parts ...string) string {
		t.Helper()
		b, err := k.Derive(parts...)
		if err != nil || len(b) != 16 {
			t.Fatalf("got %x, %v", b, err)
		}
		return string(b)
	}
	one := derive("a", "bc")
	addDEK(t, k)
	if derive("a", "bc") != one {
		t.Error("a further data key changes what is derived")
	}
	if derive("ab", "c") == one || derive("a", "bc", "") == one {
		t.Error("other parts give the same bytes")
	}
	other := newKeyring(t)
	addDEK(t, other)
	if b, err := other.Derive("a", "bc"); err != nil || string(b) == one {
		t.Errorf("another data key gives the same bytes, or %v", err)
	}
}
