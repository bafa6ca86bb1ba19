package fsm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// pluginText is the manifest of a plugin whose binary has the digest of a digit.
func pluginText(t *testing.T, name, version, digit string) string {
	t.Helper()
	m := manifest.Manifest{Format: manifest.Format, Name: name, Version: version, Kind: "guardrail", Binaries: []manifest.Binary{
		{OS: "any", Arch: "any", SHA256: strings.Repeat(digit, 64), Size: 60},
	}}
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSwitchPlugins: a rollout replaces the plugins that are registered, keeps the old binaries for
// as long as there is a way back, and puts back what nobody has changed since.
func TestSwitchPlugins(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	for _, digit := range []string{"a", "b", "c"} {
		blob := blobOf(digit, 60) // its time is over: only what refers to it keeps it
		blob.Class, blob.Kind = resource.BlobConfiguration, "plugin"
		h.do(fsm.PutBlob{Blob: encoded(t, blob)})
	}
	v1, v2 := pluginText(t, "mine", "1", "a"), pluginText(t, "mine", "2", "b")
	h.do(fsm.PutPlugin{Plugin: encoded(t, resource.Plugin{Meta: meta("p1"), Name: "mine", Kind: "guardrail", Manifest: v1})})
	begin := func(id string) {
		t.Helper()
		r := rollout(id)
		r.Rollout.Switches = []memory.PluginSwitch{
			{Name: "mine", Kind: "guardrail", Manifest: v2, Before: &resource.Plugin{Name: "forged"}},
			{Name: "unknown", Kind: "guardrail", Manifest: pluginText(t, "unknown", "1", "c")},
		}
		r.Rollout.Switched = 5
		h.do(r)
	}
	now := func() *fsm.Rollout { info, _ := h.f.Cluster(); return info.Rollout }
	registered := func() *resource.Plugin { return h.f.Catalog().Tables().Plugins[0] }
	refs := func(digit string) []string { b, _ := h.f.Blob(strings.Repeat(digit, 64)); return b.Refs }

	bad := rollout("r0")
	bad.Rollout.Switches = []memory.PluginSwitch{{Name: "mine", Kind: "guardrail", Manifest: "{"}}
	if err := h.try(master, bad).Err; resource.Code(err) != "invalid" {
		t.Errorf("a manifest that cannot be read: got %v", err)
	}
	begin("r1")
	if r := now(); r.Switched != 0 || r.Switches[0].Before != nil {
		t.Fatalf("what the state machine says itself was taken from the proposer: %+v", r)
	}
	h.refused(master, fsm.SwitchPlugins{ID: "r1", Read: 1}, resource.ErrForbidden)
	h.refused(node("n1"), fsm.SwitchPlugins{ID: "r1", Read: 9}, resource.ErrConflict)
	h.doAs(node("n1"), fsm.SwitchPlugins{ID: "r1", Read: now().Rev})
	h.refused(node("n1"), fsm.SwitchPlugins{ID: "r1", Read: now().Rev}, resource.ErrRefused)
	if p := registered(); p.Manifest != v2 || p.ID != "p1" || p.Version == 0 {
		t.Errorf("switched: got %+v", p)
	}
	if len(h.f.Catalog().Tables().Plugins) != 1 {
		t.Error("a plugin that nobody registered was registered")
	}
	if d := cmp.Diff([]string{"rollout/r1"}, refs("a")) + cmp.Diff([]string{"plugin/p1"}, refs("b")); d != "" {
		t.Errorf("blobs while there is a way back: %s", d)
	}
	h.doAs(node("n1"), fsm.AdvanceRollout{ID: "r1", Read: now().Rev, State: memory.RolloutDone})
	h.do(fsm.RevertRollout{ID: "r1"})
	if p := registered(); p.Manifest != v1 || p.UpdatedBy != "master" {
		t.Errorf("put back: got %+v", p)
	}
	if d := cmp.Diff([]string{"plugin/p1"}, refs("a")); d != "" || len(refs("b")) != 0 {
		t.Errorf("blobs after the way back: %s, %q", d, refs("b"))
	}
	h.doAs(node("n1"), fsm.AdvanceRollout{ID: "r1", Read: now().Rev, State: memory.RolloutReverted})

	begin("r2")
	h.doAs(node("n1"), fsm.SwitchPlugins{ID: "r2", Read: now().Rev})
	v3 := pluginText(t, "mine", "3", "c")
	changed := *registered()
	changed.Manifest = v3
	h.do(fsm.PutPlugin{Plugin: encoded(t, changed), Read: changed.Version})
	h.doAs(node("n1"), fsm.AdvanceRollout{ID: "r2", Read: now().Rev, State: memory.RolloutBackward, Reason: "x"})
	if p := registered(); p.Manifest != v3 {
		t.Errorf("what an admin has written since was put back: %+v", p)
	}
	if len(refs("a")) != 0 {
		t.Errorf("the old binary is still referred to: %q", refs("a"))
	}
}

// TestSwitchPlugins_nextRollout gives up the way back of the last one.
func TestSwitchPlugins_nextRollout(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.boot("n1")
	for _, digit := range []string{"a", "b"} {
		h.do(fsm.PutBlob{Blob: encoded(t, blobOf(digit, 60))})
	}
	h.do(fsm.PutPlugin{Plugin: encoded(t, resource.Plugin{Meta: meta("p1"), Name: "mine", Kind: "guardrail", Manifest: pluginText(t, "mine", "1", "a")})})
	r := rollout("r1")
	r.Rollout.Switches = []memory.PluginSwitch{{Name: "mine", Kind: "guardrail", Manifest: pluginText(t, "mine", "2", "b")}}
	h.do(r)
	h.doAs(node("n1"), fsm.SwitchPlugins{ID: "r1", Read: 1})
	h.doAs(node("n1"), fsm.AdvanceRollout{ID: "r1", Read: 2, State: memory.RolloutDone})
	h.do(rollout("r2"))
	if b, ok := h.f.Blob(strings.Repeat("a", 64)); ok && len(b.Refs) != 0 {
		t.Errorf("the old binary is still referred to: %q", b.Refs)
	}
}
