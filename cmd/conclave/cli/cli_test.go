package cli_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/cmd/conclave/cli"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"conclave": func() {
		os.Exit(cli.Run(os.Args[1:], cli.Config{Version: "test", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
	}})
}

// dead raises an alert that the channel ops did not get.
func dead(h *adminapitest.Harness) {
	by := fsm.Actor{Kind: "node", ID: "n1"}
	a := alert.Alert{Kind: channel.NodeDown, Subject: "node/n2", Key: "node_down/n2", Text: "Node b does not answer."}
	if _, err := h.Propose(h.T.Context(), by, "", fsm.RaiseAlerts{Alerts: []alert.Alert{a}}); err != nil {
		h.T.Fatal(err)
	}
	note := fsm.AlertNote{ID: h.State.PendingAlerts(1)[0].ID, Done: true, Deliveries: []alert.Delivery{{Channel: "ops", State: alert.Dead, Tries: 7, Error: "503"}}}
	if _, err := h.Propose(h.T.Context(), by, "", fsm.NoteAlerts{Notes: []fsm.AlertNote{note}}); err != nil {
		h.T.Fatal(err)
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			desk := &signIns{}
			env.Values["desk"] = desk
			h := adminapitest.New(env.T().(testing.TB), func(cfg *adminapi.Config) { cfg.SignIns = desk })
			h.Late = []string{"n2"}
			if strings.HasSuffix(env.WorkDir, "script-alert") {
				dead(h)
			}
			env.Setenv("CONCLAVE_SERVER", h.URL)
			env.Setenv("CONCLAVE_MASTER_KEY", adminapitest.MasterKey)
			return nil
		},
		Cmds:          map[string]func(ts *testscript.TestScript, neg bool, args []string){"await-signin": awaitSignIn},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}
