package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"conclave": main})
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
