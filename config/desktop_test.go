package config_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
)

const desktopFile = `{"mcpServers":{"brave-search":{"command":"npx","args":["-y","server"],"env":{"BRAVE_KEY":"k"}},` +
	`"remote":{"type":"http","url":"https://x.example/mcp","headers":{"Authorization":"Bearer t"}}}}`

func TestParseDesktop(t *testing.T) {
	t.Parallel()
	all, err := config.ParseDesktop([]byte(desktopFile))
	if err != nil || len(all) != 2 {
		t.Fatalf("got %+v, %v", all, err)
	}
	a, b := all[0], all[1]
	if a.Resource.Name != "brave_search" || a.Resource.Transport != "stdio" || a.Secrets["env.BRAVE_KEY"] != "k" {
		t.Errorf("process: got %+v", a)
	}
	if b.Resource.Transport != "http" || b.Secrets["header.Authorization"] != "Bearer t" {
		t.Errorf("address: got %+v", b)
	}
	doc, err := a.Document()
	if err != nil || doc["command"] != "npx" || doc["secrets"].(map[string]any)["env.BRAVE_KEY"] != "k" {
		t.Errorf("document: got %v, %v", doc, err)
	}
	for name, src := range map[string]string{
		"names no server":   `{"mcpServers":{}}`,
		"unknown field":     `{"mcpServers":{"a":{"command":"x","shell":true}}}`,
		"both":              `{"mcpServers":{"a":{"command":"x","url":"https://x.example"}}}`,
		"is called a_b too": `{"mcpServers":{"a-b":{"command":"x"},"a b":{"command":"x"}}}`,
		"read desktop":      `{`,
	} {
		if _, err := config.ParseDesktop([]byte(src)); err == nil || name != "both" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzParseDesktop(f *testing.F) {
	f.Add([]byte(desktopFile))
	f.Add([]byte(`{"servers":{"a":{"url":"http://x","type":"sse"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := config.ParseDesktop(b)
		if err != nil {
			return
		}
		for i := range all {
			if err := all[i].Resource.Validate(); err != nil {
				t.Errorf("a record that is not valid: %v", err)
			}
			if _, err := all[i].Document(); err != nil {
				t.Error(err)
			}
		}
	})
}
