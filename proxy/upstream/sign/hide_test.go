package sign_test

import (
	"testing"

	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

func TestAccount_Hide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, key, body, want string }{
		{"none", "", "what", "what"},
		{"elsewhere", "sk-provider-1", "what", "what"},
		{"once", "sk-provider-1", `{"error":"bad key sk-provider-1."}`, `{"error":"bad key (hidden)."}`},
		{"within a word", "sk-provider-1", "Bearersk-provider-1sk-provider-12", "Bearer(hidden)(hidden)2"},
		{"short, within words", "x", `{"code":"rate_limit_exceeded","x":"max"}`, `{"code":"rate_limit_exceeded","(hidden)":"max"}`},
		{"short, a word", "none", `none "none" nonesuch énone none`, `(hidden) "(hidden)" nonesuch énone (hidden)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &sign.Account{Key: secret.New(tt.key)}
			if got := string(in.Hide([]byte(tt.body))); got != tt.want {
				t.Errorf("as the key: got %s, want %s", got, tt.want)
			}
			in = &sign.Account{Secrets: map[string]secret.Text{"token": secret.New(tt.key)}}
			if got := string(in.Hide([]byte(tt.body))); got != tt.want {
				t.Errorf("as a secret: got %s, want %s", got, tt.want)
			}
		})
	}
}
