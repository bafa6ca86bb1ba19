package join

import (
	"errors"
	"testing"
)

const testCluster = "00112233445566778899aabbccddeeff"

func TestToken(t *testing.T) {
	t.Parallel()
	tok, err := NewToken(testCluster, []byte("ca"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseToken(" " + tok.String() + "\n")
	if err != nil || got != tok {
		t.Errorf("ParseToken = %v, %v, want %v", got, err, tok)
	}
	if !tok.belongs(testCluster) || tok.belongs("ff112233445566778899aabbccddeeff") || tok.belongs("x") {
		t.Error("belongs is wrong")
	}
	for name, s := range map[string]string{
		"empty": "", "no prefix": tok.String()[10:], "too short": tok.String()[:40], "too long": tok.String() + "aa", "not base32": tokenPrefix + "18!",
	} {
		if _, err := ParseToken(s); !errors.Is(err, ErrToken) {
			t.Errorf("%s: got %v, want ErrToken", name, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	tok, err := NewToken(testCluster, []byte("ca"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok.String())
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			return
		}
		if again, err := ParseToken(tok.String()); err != nil || again != tok {
			t.Errorf("%q: got %v, %v", s, again, err)
		}
	})
}
