package pack_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/plugins/pack"
	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/signing"
)

func bundle(t testing.TB, key *signing.SecretKey) *pack.Bundle {
	t.Helper()
	b, err := pack.New(manifest.Manifest{Name: "shout", Version: "1.0", Kind: "guardrail", Schema: []byte(`{"type":"object"}`)}, []pack.Binary{
		{OS: "linux", Arch: "amd64", Body: []byte("for amd64")},
		{OS: "linux", Arch: "arm64", Body: []byte("for arm64")},
		{OS: "darwin", Arch: "arm64", Body: []byte("for arm64")}, // the same bytes: kept once
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func written(t testing.TB, b *pack.Bundle) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundle_RoundTrip(t *testing.T) {
	t.Parallel()
	key, err := signing.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*signing.SecretKey{nil, &key} {
		b := bundle(t, key)
		file := written(t, b)
		if !bytes.Equal(file, written(t, b)) {
			t.Error("one bundle has two files")
		}
		got, err := pack.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b.Bodies, got.Bodies); d != "" || got.Text != b.Text || got.Signature != b.Signature {
			t.Errorf("read back: %s\n%s\n%s", d, got.Text, got.Signature)
		}
		if err := (manifest.Trust{}).Check(got.Text, got.Signature); err != nil {
			t.Errorf("Check = %v", err)
		}
	}
}

// archive makes a bundle's file of entries by hand: name, body, name, body, …
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for i := 0; i < len(entries); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: entries[i], Mode: 0o644, Size: int64(len(entries[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(entries[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRead_Refuses(t *testing.T) {
	t.Parallel()
	b := bundle(t, nil)
	digests := b.Manifest.Digests()
	first, second := "bin/"+digests[0], "bin/"+digests[1]
	one, two := string(b.Bodies[digests[0]]), string(b.Bodies[digests[1]])
	whole := written(t, b)
	for _, tt := range []struct {
		name string
		file []byte
	}{
		{"nothing", nil},
		{"no archive", []byte("#!/bin/sh")},
		{"cut", whole[:len(whole)/2]},
		{"no manifest", archive(t, first, one)},
		{"a binary is missing", archive(t, "manifest.json", b.Text, first, one)},
		{"a binary is another", archive(t, "manifest.json", b.Text, first, one, second, strings.ToUpper(two))},
		{"a binary is longer", archive(t, "manifest.json", b.Text, first, one, second, two+"x")},
		{"an unnamed file", archive(t, "manifest.json", b.Text, first, one, second, two, "bin/../../etc/passwd", "x")},
		{"another order", archive(t, "manifest.json", b.Text, second, two, first, one)},
		{"two manifests", archive(t, "manifest.json", b.Text, "manifest.json", b.Text, first, one, second, two)},
		{"a manifest that is wrong", archive(t, "manifest.json", "{}")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := pack.Read(tt.file); !errors.Is(err, pack.ErrBundle) {
				t.Errorf("Read = %v, want %v", err, pack.ErrBundle)
			}
		})
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	if _, err := pack.New(manifest.Manifest{Name: "x", Version: "1", Kind: "guardrail"}, nil, nil); err == nil {
		t.Error("a bundle without binaries is made")
	}
	large := []pack.Binary{{OS: "linux", Arch: "amd64", Body: make([]byte, 64<<20+1)}}
	if _, err := pack.New(manifest.Manifest{Name: "x", Version: "1", Kind: "guardrail"}, large, nil); err == nil {
		t.Error("a binary that is no blob is packed")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(written(f, bundle(f, nil)))
	f.Add(archive(f, "manifest.json", "{}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := pack.Read(file)
		if err != nil {
			return
		}
		if again, err := pack.Read(written(t, b)); err != nil || again.Text != b.Text {
			t.Errorf("a bundle that was read cannot be written and read: %v", err)
		}
	})
}
