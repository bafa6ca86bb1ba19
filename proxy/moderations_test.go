package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

// A request for a moderation that names no model goes to the setting's model, to OpenAI's default, or to the only one there is.
func TestModerations_WithoutModel(t *testing.T) {
	t.Parallel()
	named := func(name, upstream, info string) func(*rig) {
		return func(r *rig) {
			m := *r.tables.Models[0]
			m.ID, m.Name = "model_"+name, name
			d := *r.tables.Deployments[0]
			d.ID, d.ModelID, d.Upstream, d.Metadata = "dep_"+name, m.ID, upstream, []byte(info)
			r.tables.Models, r.tables.Deployments = append(r.tables.Models, &m), append(r.tables.Deployments, &d)
		}
	}
	only := func(models ...string) func(*rig) {
		return func(r *rig) { r.keys[resource.HashSecret(goodKey)].Models = models }
	}
	for _, tt := range []struct {
		name string
		edit []func(*rig)
		want string // the model at the provider; "": none
		code string
	}{
		{"none", nil, "", "missing_model"},
		{"the only one, by its name", []func(*rig){named("mod", "text-moderation-latest", ""), only("demo", "mod")}, "text-moderation-latest", ""},
		{"the only one, by its mode", []func(*rig){named("mod", "safe", `{"mode":"moderation"}`), only("demo", "mod")}, "safe", ""},
		{"two", []func(*rig){named("mod", "text-moderation-latest", ""), named("mod2", "safe", `{"mode":"moderation"}`), only("demo", "mod", "mod2")}, "", "missing_model"},
		{"the only one that the key has of two", []func(*rig){named("mod", "text-moderation-latest", ""), named("mod2", "safe", `{"mode":"moderation"}`), only("demo", "mod2")}, "safe", ""},
		{"OpenAI's default of two", []func(*rig){named("omni-moderation-latest", "omni", ""), named("mod2", "safe", `{"mode":"moderation"}`), only("omni-moderation-latest", "mod2")}, "omni", ""},
		{"the setting's", []func(*rig){named("mod", "text-moderation-latest", ""), func(r *rig) { settingOf("moderation_model", `"demo"`)(r, nil) }, only("demo", "mod")}, "gpt-x", ""},
		{"the setting's that the key has not", []func(*rig){named("mod", "text-moderation-latest", ""), func(r *rig) { settingOf("moderation_model", `"mod"`)(r, nil) }, only("demo")}, "", "model_access_denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent := ""
			w := newWire(t, func(rw http.ResponseWriter, q *http.Request) {
				b, _ := io.ReadAll(q.Body)
				sent = string(b)
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"id":"modr-1","model":"x","results":[{"flagged":false}]}`)
			})
			for _, edit := range tt.edit {
				edit(w.rig)
			}
			w.mux, w.cfg.Catalog = nil, nil
			got := w.do("POST", "/v1/moderations", `{"input":"hello"}`)
			if tt.want == "" {
				if got.Code < 400 || codeOf(t, got.Body.String()) != tt.code || sent != "" {
					t.Errorf("got %d %s, sent %q", got.Code, got.Body, sent)
				}
				return
			}
			if got.Code != 200 || !strings.Contains(sent, `"model":"`+tt.want+`"`) {
				t.Errorf("got %d %s, sent %q", got.Code, got.Body, sent)
			}
		})
	}
}
