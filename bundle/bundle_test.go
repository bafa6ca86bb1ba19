package bundle_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/bundle"
	"github.com/conclave-llm/conclave/signing"
)

func key(t testing.TB) signing.SecretKey {
	t.Helper()
	k, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sample is a bundle of a program, prices and a plugin.
func sample(t testing.TB, k signing.SecretKey) []byte {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var out bytes.Buffer
	_, err := bundle.Write(&out, "v2", time.Unix(1_800_000_000, 0), k, []bundle.Source{
		{File: bundle.File{Path: "programs/linux-amd64/conclave", Kind: bundle.KindProgram, Platform: "linux/amd64"}, From: file("a", "a program")},
		{File: bundle.File{Path: "prices.json", Kind: bundle.KindPrices}, From: file("b", "{}")},
		{File: bundle.File{Path: "plugins/p", Kind: bundle.KindPlugin, Name: "p"}, From: file("c", "a plugin")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(b []byte, trust signing.Trust) error {
	r, err := bundle.Open(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if _, _, err := r.Trust(trust); err != nil {
		return err
	}
	return r.Check()
}

func TestBundle(t *testing.T) {
	t.Parallel()
	k := key(t)
	b := sample(t, k)
	trust := signing.Trust{k.Public()}
	if err := read(b, trust); err != nil {
		t.Fatal(err)
	}
	r, err := bundle.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	m, by, err := r.Trust(trust)
	if err != nil || by != k.Public() || m.Version != "v2" || len(m.Files) != 3 {
		t.Fatalf("got %+v by %v, %v", m, by, err)
	}
	if f, ok := m.Program("linux/amd64"); !ok || f.Size != 9 {
		t.Errorf("program: got %+v %v", f, ok)
	}
	_, body, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(body); err != nil || string(text) != "a program" {
		t.Errorf("first file: got %q, %v", text, err)
	}
	if err := read(b, signing.Trust{key(t).Public()}); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("a stranger's: got %v", err)
	}
	if err := read(b, nil); !errors.Is(err, signing.ErrUntrusted) {
		t.Errorf("where nobody is trusted: got %v", err)
	}
}

// TestBundle_BytesCount flips every third byte and cuts the bundle everywhere: nothing of that is
// accepted with another content.
func TestBundle_BytesCount(t *testing.T) {
	t.Parallel()
	k := key(t)
	good := sample(t, k)
	trust := signing.Trust{k.Public()}
	want := contents(t, good, trust)
	for i := 0; i < len(good); i += 3 {
		b := bytes.Clone(good)
		b[i] ^= 0x20
		if read(b, trust) != nil {
			continue
		}
		if got := contents(t, b, trust); got != want { // an archive has bytes that say nothing
			t.Fatalf("with byte %d flipped the bundle is accepted as %q, want %q", i, got, want)
		}
	}
	for n := 0; n < len(good)-1024; n += 7 {
		if read(good[:n], trust) == nil && contents(t, good[:n], trust) != want { // what fills a block up says nothing
			t.Fatalf("the first %d bytes of %d are accepted", n, len(good))
		}
	}
}

// contents is all that a reader gets of a bundle.
func contents(t *testing.T, b []byte, trust signing.Trust) string {
	t.Helper()
	r, err := bundle.Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Trust(trust); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for {
		f, body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(f.Path + "\n")
		if _, err := io.Copy(&out, body); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBundle_Strangers(t *testing.T) {
	t.Parallel()
	k := key(t)
	trust := signing.Trust{k.Public()}
	good := sample(t, k)
	more := func() []byte {
		var out bytes.Buffer
		w, in := tar.NewWriter(&out), tar.NewReader(bytes.NewReader(good))
		for {
			h, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = w.WriteHeader(h)
			_, _ = io.Copy(w, in)
		}
		_ = w.WriteHeader(&tar.Header{Name: "more", Size: 1, Typeflag: tar.TypeReg})
		_, _ = w.Write([]byte("x"))
		_ = w.Close()
		return out.Bytes()
	}
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"no archive", []byte("#!/bin/sh\nexit 0\n")},
		{"a file that the manifest does not name", more()},
	} {
		if err := read(tt.b, trust); !errors.Is(err, bundle.ErrBundle) {
			t.Errorf("%s: got %v, want ErrBundle", tt.name, err)
		}
	}
}

func TestParseManifest(t *testing.T) {
	t.Parallel()
	sum := bundle.Digest(nil)
	file := `{"path":"a","kind":"program","platform":"linux/amd64","size":1,"sha256":"` + sum + `"}`
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"good", `{"format":1,"version":"v","created":"2026-01-02T03:04:05Z","files":[` + file + `]}`, true},
		{"another format", `{"format":2,"version":"v","files":[` + file + `]}`, false},
		{"twice the same", `{"format":1,"version":"v","files":[` + file + `,` + file + `]}`, false},
		{"no files", `{"format":1,"version":"v","files":[]}`, false},
		{"unknown field", `{"format":1,"version":"v","who":"me","files":[` + file + `]}`, false},
		{"more behind it", `{"format":1,"version":"v","files":[` + file + `]}{}`, false},
		{"a path that climbs", `{"format":1,"version":"v","files":[{"path":"../a","kind":"prices","size":1,"sha256":"` + sum + `"}]}`, false},
		{"the manifest's own path", `{"format":1,"version":"v","files":[{"path":"bundle.sig","kind":"prices","size":1,"sha256":"` + sum + `"}]}`, false},
		{"an unknown kind", `{"format":1,"version":"v","files":[{"path":"a","kind":"virus","size":1,"sha256":"` + sum + `"}]}`, false},
		{"a size below zero", `{"format":1,"version":"v","files":[{"path":"a","kind":"prices","size":-1,"sha256":"` + sum + `"}]}`, false},
	} {
		if _, err := bundle.ParseManifest([]byte(tt.text)); (err == nil) != tt.ok || (err != nil && !errors.Is(err, bundle.ErrBundle)) {
			t.Errorf("%s: got %v, want ok = %v", tt.name, err, tt.ok)
		}
	}
}

func FuzzBundle(f *testing.F) {
	k := key(f)
	f.Add(sample(f, k))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := bundle.Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, _, err := r.Inspect(); err == nil {
			_ = r.Check()
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"version":"v","files":[]}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = bundle.ParseManifest(b) })
}
