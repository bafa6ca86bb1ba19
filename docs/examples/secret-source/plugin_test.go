package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// kit says what the plugin should read; the kit does to it what a node will.
func kit(t *testing.T) plugintest.SecretSourceCase {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "openai"), []byte(`{"key":"sk-planted-by-the-test"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return plugintest.SecretSourceCase{
		Config:  fmt.Appendf(nil, `{"folder":%q}`, folder),
		Bad:     [][]byte{[]byte(`{}`), []byte(`{"folder":7}`), []byte(`{"foldr":"x"}`), fmt.Appendf(nil, `{"folder":%q}`, folder+"x")},
		At:      sdk.SecretAddress{Path: "openai", Field: "key"},
		Value:   "sk-planted-by-the-test",
		Missing: sdk.SecretAddress{Path: "nothing"},
	}
}

func TestPlugin(t *testing.T) {
	plugintest.SecretSource(t, func() sdk.SecretSource { return &plugin{} }, kit(t))
}

func TestProgram(t *testing.T) {
	plugintest.SecretSourceProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit(t))
}
