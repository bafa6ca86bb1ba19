package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

// kit says what the plugin should do; the kit does to it what a node will.
func kit(t *testing.T) plugintest.CallbackCase {
	path := filepath.Join(t.TempDir(), "requests.txt")
	return plugintest.CallbackCase{
		Config: fmt.Appendf(nil, `{"path":%q}`, path),
		Bad:    [][]byte{[]byte(`{}`), []byte(`{"path":7}`), []byte(`{"pth":"x"}`)},
		Count: func(testing.TB) int {
			text, _ := os.ReadFile(path)
			return bytes.Count(text, []byte("\n"))
		},
	}
}

func TestPlugin(t *testing.T) {
	plugintest.Callback(t, func() sdk.Callback { return &plugin{} }, kit(t))
}

func TestProgram(t *testing.T) {
	plugintest.CallbackProgram(t, plugintest.Program{Path: plugintest.Build(t, ".")}, kit(t))
}
