package proxy_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/proxy"
)

// What the client calls itself is kept with what was said, and no more of it than is of use.
func TestContent_UserAgent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, agent, want string }{
		{"short", "my-agent/1.0", "my-agent/1.0"},
		{"none", "", ""},
		{"long, cut in a letter", strings.Repeat("x", 511) + "é", strings.Repeat("x", 511)},
	} {
		r := newRig(t)
		settingOf("log_content", "true")(r, nil)
		var kept []proxy.Said
		r.cfg.KeepContent = func(s proxy.Said) { kept = append(kept, s) }
		if w := r.do("POST", "/v1/chat/completions", chatBody, header("User-Agent", tt.agent)); w.Code != 200 || len(kept) != 1 || kept[0].UserAgent != tt.want {
			t.Errorf("%s: status %d, kept %+v", tt.name, w.Code, kept)
		}
	}
}
