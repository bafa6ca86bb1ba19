package cli_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/cmd/conclave/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"conclave": func() {
		os.Exit(cli.Run(os.Args[1:], cli.Config{Version: "test", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
	}})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			h := adminapitest.New(env.T().(testing.TB))
			h.Late = []string{"n2"}
			env.Setenv("CONCLAVE_SERVER", h.URL)
			env.Setenv("CONCLAVE_MASTER_KEY", adminapitest.MasterKey)
			return nil
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}
