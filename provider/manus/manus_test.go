package manus_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/manus"
)

// TestFollow: a task that runs is asked for until it does not, and one that waits for the user is answered.
func TestFollow(t *testing.T) {
	t.Parallel()
	for body, path := range map[string]string{
		`{"id":"t/1","status":"running"}`:                "/v1/responses/t%2F1",
		`{"status":"running"}`:                           "",
		`{"id":"t1","status":"completed","output":null}`: "",
		`{"id":"t1","status":"pending"}`:                 "",
	} {
		step, err := manus.New().Follow([]byte(body))
		got := ""
		if step != nil {
			got = step.Path
		}
		if err != nil || got != path || step != nil && (step.Method != "GET" || step.Wait <= 0) {
			t.Errorf("%s: got %+v, %v", body, step, err)
		}
	}
	if _, err := manus.New().Follow([]byte("[")); err == nil {
		t.Error("nonsense is followed")
	}
	res, err := manus.New().DecodeResponse([]byte(`{"id":"t1","status":"pending","output":[{"role":"assistant","content":"Which?"}]}`))
	if err != nil || res.Choices[0].Parts[0].Text != "Which?" {
		t.Errorf("got %+v, %v", res, err)
	}
	for body, want := range map[string]string{
		`{"id":"t1","status":"failed","error":{"message":"No credits"}}`: "No credits", `{"status":"error"}`: "The agent could not finish the task.",
	} {
		_, err := manus.New().DecodeResponse([]byte(body))
		e, _ := errors.AsType[*llm.Error](err)
		if d := cmp.Diff(want, e.Message); d != "" || e.Kind != llm.Upstream {
			t.Errorf("%s: %v", body, err)
		}
	}
}
