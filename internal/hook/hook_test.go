package hook_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/internal/hook"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	body := []byte(`{"a":1}`)
	s := hook.Sign("key", 1700000000, body)
	if at, ok := hook.Verify("key", s, body); !ok || at != 1700000000 {
		t.Errorf("Verify(%q) = %d, %v", s, at, ok)
	}
	for name, bad := range map[string]string{
		"none": "", "another time": strings.Replace(s, "17", "18", 1), "cut": s[:len(s)-1], "no time": "t=x,v1=00", "no comma": "t=1700000000",
	} {
		if _, ok := hook.Verify("key", bad, body); ok {
			t.Errorf("%s: %q is taken", name, bad)
		}
	}
	if _, ok := hook.Verify("other", s, body); ok {
		t.Error("another key's signature is taken")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=00", []byte("x"))
	f.Fuzz(func(t *testing.T, signature string, body []byte) {
		if at, ok := hook.Verify("key", signature, body); ok && hook.Sign("key", at, body) != signature {
			t.Errorf("%q is taken, but not what Sign makes", signature)
		}
	})
}
