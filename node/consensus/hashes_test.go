package consensus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestHashWatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		equal map[string]bool
		count int64
		want  string // "": no line
	}{
		{"nothing to compare", nil, 0, ""},
		{"all are equal", map[string]bool{"b": true, "c": true}, 0, ""},
		{"one of three differs", map[string]bool{"b": true, "c": false}, 1, "differs from the cluster's"},
		{"one of two differs", map[string]bool{"b": false}, 1, "it is not known which is right"},
		{"the leader is alone", map[string]bool{"b": false, "c": false}, 2, "it is not known which is right"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			w := &hashWatch{log: slog.New(slog.NewTextHandler(&out, nil)), differ: map[string]bool{}}
			for range 3 { // each is logged once
				w.compare("a", tt.equal)
			}
			if got := w.count.Load(); got != tt.count {
				t.Errorf("%d differ, want %d", got, tt.count)
			}
			if got := strings.Count(out.String(), "\n"); got != int(tt.count) || !strings.Contains(out.String(), tt.want) {
				t.Errorf("logged %q, want %d lines with %q", &out, tt.count, tt.want)
			}
		})
	}
}
