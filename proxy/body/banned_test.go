package body

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
)

func TestCheckBanned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, field string
	}{
		{"clean", `{"model":"m","messages":[{"role":"user","content":"set \"api_base\": x"}]}`, ""},
		{"a schema may have it", `{"model":"m","tools":[{"function":{"parameters":{"properties":{"base_url":{}}}}}]}`, ""},
		{"top", `{"model":"m","api_base":"http://x"}`, "api_base"},
		{"top, after a string with quotes", `{"m":"a\\\"b\\","base_url":1}`, "base_url"},
		{"escaped name", `{"api\u005fbase":"http://x"}`, "api_base"},
		{"spaces", "{ \"user_config\" \n : {}}", "user_config"},
		{"value, not name", `{"model":"api_base"}`, ""},
		{"metadata", `{"metadata":{"a":[{"api_base":"x"}]}}`, "metadata.a.api_base"},
		{"metadata of the client's own", `{"metadata":{"tenant_id":"acme"}}`, ""},
		{"other case in a vessel", `{"metadata":{"API_BASE":"x"}}`, "metadata.API_BASE"},
		{"escaped vessel", `{"extra\u005fbody":{"api_key":"x"}}`, "extra_body.api_key"},
		{"fallbacks", `{"fallbacks":[{"model":"m","aws_role_name":"x"}]}`, "fallbacks.aws_role_name"},
		{"vessel of another type", `{"metadata":null,"fallbacks":["m"]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckBanned([]byte(tt.body))
			e, _ := errors.AsType[*llm.Error](err)
			switch {
			case tt.field == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tt.field != "" && (e == nil || e.Param != tt.field || e.Kind != llm.Invalid):
				t.Errorf("got %v, want a refusal of %s", err, tt.field)
			}
		})
	}
}

func FuzzCheckBanned(f *testing.F) {
	f.Add(`{"a":"\\","api_base":1}`)
	f.Add(`{"metadata":{"api_key":null}}`)
	f.Fuzz(func(t *testing.T, body string) {
		var top map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &top) != nil || !json.Valid([]byte(body)) {
			return // Peek has refused it
		}
		want := false
		for name := range top {
			want = want || banned[name] != 0
		}
		if got := CheckBanned([]byte(body)); want && got == nil {
			t.Errorf("%q was not refused", body)
		}
	})
}

func BenchmarkCheckBanned(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 800) + `"}],"stream":true}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckBanned(body); err != nil {
			b.Fatal(err)
		}
	}
}
