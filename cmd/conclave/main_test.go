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

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		live uint64
		want int
	}{
		{"empty", 0, 400},
		{"few keys", 6 << 20, 400},
		{"some keys", 12 << 20, 200},
		{"a million keys", 400 << 20, 100},
	} {
		if got := gcPercent(tt.live); got != tt.want {
			t.Errorf("%s: gcPercent(%d) = %d, want %d", tt.name, tt.live, got, tt.want)
		}
	}
}
