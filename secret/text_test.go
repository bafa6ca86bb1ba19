package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/secret"
)

// canary must never be seen.
const canary = "sk-canary-0123456789"

type holder struct {
	Name string
	Key  secret.Text
	Ptr  *secret.Text
	List []secret.Text
	Map  map[string]secret.Text
	any  any
}

func TestText_neverShowsTheSecret(t *testing.T) {
	t.Parallel()
	s := secret.New(canary)
	h := holder{Name: "n", Key: s, Ptr: &s, List: []secret.Text{s}, Map: map[string]secret.Text{"k": s}, any: s}
	var out []string
	for _, v := range []any{s, &s, h, &h, []secret.Text{s}, map[string]any{"k": s}, [1]secret.Text{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v", "%20v", "%-5s", "%p"} {
			args := []any{v}
			if verb == "%T %v" {
				args = append(args, v)
			}
			out = append(out, fmt.Sprintf(verb, args...))
		}
		out = append(out, fmt.Sprint(v), fmt.Sprintln(v))
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("marshal %T: %v", v, err)
		}
		out = append(out, string(b))
		for _, opt := range []*slog.HandlerOptions{nil, {AddSource: true, Level: slog.LevelDebug}} {
			var buf bytes.Buffer
			slog.New(slog.NewTextHandler(&buf, opt)).Info("m", "v", v, slog.Group("g", "v", v))
			slog.New(slog.NewJSONHandler(&buf, opt)).With("w", v).Info("m", "v", v)
			out = append(out, buf.String())
		}
	}
	x, err := xml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var g bytes.Buffer
	if err := gob.NewEncoder(&g).Encode(s); err != nil {
		t.Fatal(err)
	}
	out = append(out, string(x), g.String(), fmt.Errorf("wrap %v: %w", s, errors.New("x")).Error())
	mapKey, _ := json.Marshal(map[secret.Text]int{s: 1})
	out = append(out, string(mapKey))
	forms := []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), canary[3:15]}
	for _, o := range out {
		for _, f := range forms {
			if strings.Contains(o, f) {
				t.Errorf("the secret shows in %q", o)
			}
		}
	}
	if got := s.Reveal(); got != canary {
		t.Errorf("Reveal() = %q, want the secret", got)
	}
	if want := "secret:" + s.Fingerprint(); s.String() != want || len(s.Fingerprint()) != 8 {
		t.Errorf("String() = %q, want %q", s, want)
	}
}

func TestText_Equal(t *testing.T) {
	t.Parallel()
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) {
		t.Error("Equal is wrong")
	}
	if !(secret.Text{}).IsZero() || (secret.Text{}).Fingerprint() != "" {
		t.Error("the zero value is not the empty secret")
	}
}
