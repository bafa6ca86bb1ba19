package slogbridge_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/conclave-llm/conclave/internal/slogbridge"
)

func TestNew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		log  func(hclog.Logger)
		want []string // empty: no line
	}{
		{"keys become snake case", func(l hclog.Logger) { l.Info("entering follower state", "leader-address", "x") }, []string{"level=INFO", `msg="entering follower state"`, "component=raft", "leader_address=x"}},
		{"errors are text", func(l hclog.Logger) { l.Error("broken", "error", errors.New("no")) }, []string{"level=ERROR", "error=no"}},
		{"formats are filled in", func(l hclog.Logger) { l.Warn("peer", "id", hclog.Fmt("%d-%d", 1, 2)) }, []string{"level=WARN", "id=1-2"}},
		{"debug is below the level", func(l hclog.Logger) { l.Debug("quiet") }, nil},
		{"named loggers keep their name", func(l hclog.Logger) { l.Named("snapshot").Info("x") }, []string{"component=raft.snapshot"}},
		{"implied arguments are kept", func(l hclog.Logger) { l.With("peer", 7).Info("x") }, []string{"peer=7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			tt.log(slogbridge.New(slog.New(slog.NewTextHandler(&buf, nil)), "raft"))
			if len(tt.want) == 0 && buf.Len() > 0 {
				t.Fatalf("got %q, want nothing", buf.String())
			}
			for _, w := range tt.want {
				if !strings.Contains(buf.String(), w) {
					t.Errorf("got %q, want %q in it", buf.String(), w)
				}
			}
		})
	}
}

func TestNew_nilDiscards(t *testing.T) {
	t.Parallel()
	slogbridge.New(nil, "raft").Error("nobody sees it")
}
