package secret_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/secret"
)

// cover seals by turning the digits around.
type cover struct{ down bool }

func (c *cover) Seal(_ context.Context, plain []byte) (string, error) {
	return "covered:" + hex.EncodeToString(bytes.ToUpper(plain)) + "." + hex.EncodeToString(plain)[32:] + hex.EncodeToString(plain)[:32], nil
}

func (c *cover) Open(_ context.Context, text string) ([]byte, error) {
	_, rest, ok := strings.Cut(text, ".")
	if c.down || !ok || len(rest) != 64 {
		return nil, errors.New("the service is down")
	}
	return hex.DecodeString(rest[32:] + rest[:32])
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		cover secret.Cover
	}{{"plain", nil}, {"covered", &cover{}}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := secret.Files{Dir: t.TempDir(), Cover: tt.cover}
			if _, err := f.Load(t.Context()); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("an empty folder: got %v, want fs.ErrNotExist", err)
			}
			first, _ := secret.NewKEK()
			next, _ := secret.NewKEK()
			for range 2 {
				if err := f.Save(t.Context(), first); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Save(t.Context(), next); !errors.Is(err, fs.ErrExist) {
				t.Errorf("another over it: got %v, want fs.ErrExist", err)
			}
			if err := f.Add(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			ring, err := f.Load(t.Context())
			if err != nil || ring.ID() != first.ID() || ring.Len() != 2 {
				t.Fatalf("got %v, %v, want both, the first in use", ring, err)
			}
			box, _ := next.Wrap([]byte("x"), "p")
			if _, err := ring.Unwrap(box, "p"); err != nil {
				t.Errorf("what the next KEK sealed does not open: %v", err)
			}
			if err := f.Promote(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			ring, err = f.Load(t.Context())
			if err != nil || ring.ID() != next.ID() || ring.Len() != 1 {
				t.Fatalf("after Promote: got %v, %v, want the next alone", ring, err)
			}
			b, err := os.ReadFile(filepath.Join(f.Dir, "kek"))
			if err != nil || (tt.cover != nil) == bytes.Contains(b, []byte(hex.EncodeToString(next.Bytes()))) {
				t.Errorf("the file holds %q (%v)", b, err)
			}
		})
	}
}

func TestFiles_takesCover(t *testing.T) {
	t.Parallel()
	plain := secret.Files{Dir: t.TempDir()}
	kek, _ := secret.NewKEK()
	if err := plain.Save(t.Context(), kek); err != nil {
		t.Fatal(err)
	}
	c := &cover{}
	ring, err := secret.Files{Dir: plain.Dir, Cover: c}.Load(t.Context())
	if err != nil || ring.ID() != kek.ID() {
		t.Fatalf("got %v, %v, want %s", ring, err, kek.ID())
	}
	if b, err := os.ReadFile(filepath.Join(plain.Dir, "kek")); err != nil || !strings.HasPrefix(string(b), "covered:") {
		t.Errorf("the file still holds the KEK: %q, %v", b, err)
	}
	c.down = true
	if _, err := (secret.Files{Dir: plain.Dir, Cover: c}).Load(t.Context()); err == nil {
		t.Error("the KEK was opened without the service")
	}
}

func TestOpenValue(t *testing.T) {
	t.Parallel()
	kek, _ := secret.NewKEK()
	other, _ := secret.NewKEK()
	sealed, err := secret.SealValue(kek, secret.New("sk-1"))
	if err != nil || !strings.HasPrefix(sealed, secret.SealedPrefix) {
		t.Fatalf("got %q, %v", sealed, err)
	}
	if got, err := openValue(kek, sealed); err != nil || got.Reveal() != "sk-1" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	if _, err := openValue(other, sealed); !errors.Is(err, secret.ErrWrongKey) {
		t.Errorf("another KEK: got %v", err)
	}
	for _, bad := range []string{"", "sealed:", "sealed:!!", "sk-1", sealed[:len(sealed)-4]} {
		if _, err := openValue(kek, bad); err == nil {
			t.Errorf("%q was opened", bad)
		}
	}
}

func openValue(k *secret.KEK, sealed string) (secret.Text, error) {
	text, _, err := (&secret.Values{Ring: secret.NewRing(k)}).Open(sealed)
	return text, err
}

func FuzzOpenValue(f *testing.F) {
	kek, _ := secret.NewKEK()
	sealed, _ := secret.SealValue(kek, secret.New("x"))
	f.Add(sealed)
	f.Add("sealed:AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := openValue(kek, text); err == nil && got.Reveal() != "x" {
			t.Errorf("%q opens as %q", text, got.Reveal())
		}
	})
}
