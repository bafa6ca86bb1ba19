package runway_test

import (
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/runway"
)

// TestSpeak_Follow: a task is asked for until it ends, and its sound then fetched; one that fails says why.
func TestSpeak_Follow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, path, url, code string }{
		{body: `{"id":"t/1"}`, path: "/v1/tasks/t%2F1"},
		{body: `{"id":"t1","status":"THROTTLED"}`, path: "/v1/tasks/t1"},
		{body: `{"id":"t1","status":"RUNNING","progress":0.5}`, path: "/v1/tasks/t1"},
		{body: `{"id":"t1","status":"SUCCEEDED","output":["https://cdn.example/a.mp3?_jwt=x"]}`, url: "https://cdn.example/a.mp3?_jwt=x"},
		{body: `{"id":"t1","status":"SUCCEEDED","output":[]}`, code: "invalid_response"},
		{body: `{"status":"PENDING"}`, code: "invalid_response"},
		{body: `[`, code: "invalid_response"},
		{body: `{"id":"t1","status":"FAILED","failure":"no","failureCode":"INTERNAL"}`, code: "upstream_error"},
		{body: `{"id":"t1","status":"FAILED","failure":"no","failureCode":"SAFETY.INPUT.TEXT"}`, code: "content_policy_violation"},
		{body: `{"id":"t1","status":"CANCELLED"}`, code: "upstream_error"},
	} {
		step, err := runway.Speak{}.Follow([]byte(tt.body))
		if e, _ := errors.AsType[*llm.Error](err); tt.code != "" && (e == nil || e.Code != tt.code) || tt.code == "" && err != nil {
			t.Errorf("%s: got %v, want the code %q", tt.body, err, tt.code)
			continue
		}
		if tt.code != "" {
			continue
		}
		if step.Path != tt.path || step.URL != tt.url || step.Method != "GET" || step.Bytes != (tt.url != "") || tt.path != "" && (step.Wait <= 0 || step.Cancel != tt.path) {
			t.Errorf("%s: got %+v", tt.body, step)
		}
	}
}

// FuzzSpeak: no task makes the reader panic, and what is followed leads somewhere.
func FuzzSpeak(f *testing.F) {
	f.Add([]byte(`{"id":"t1","status":"SUCCEEDED","output":["https://cdn.example/a.mp3"]}`))
	f.Add([]byte(`{"id":"t1","status":"FAILED","failureCode":"SAFETY"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		step, err := runway.Speak{}.Follow(body)
		if err == nil && (step == nil || step.Path == "" && step.URL == "") {
			t.Fatalf("%s: leads nowhere", body)
		}
	})
}
