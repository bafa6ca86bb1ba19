package manus_test

import (
	"encoding/json"
	"errors"
	"strings"
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

// TestOpen: files are announced, their bytes are put where Manus says, and the task names them.
func TestOpen(t *testing.T) {
	t.Parallel()
	body := []byte(`{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"\"file_data\""},{"type":"input_file","filename":"a \"b\".pdf","file_data":"data:application/pdf;base64,REFUQQ=="},{"type":"input_file","file_id":"f0"},{"type":"input_file","file_data":"TU9SRQ==","filename":"c.csv"}]}],"task_mode":"agent"}`)
	first, next, err := manus.New().Open(llm.Place{}, body)
	if err != nil || first == nil || first.Path != "/v1/files" || string(first.Body) != `{"filename":"a \"b\".pdf"}` {
		t.Fatalf("got %+v, %v", first, err)
	}
	for _, tt := range []struct{ answer, method, at, body, removes string }{
		{`{"id":"f/1","upload_url":"https://s3.example/1?sig=x"}`, "PUT", "https://s3.example/1?sig=x", "DATA", "/v1/files/f%2F1"},
		{``, "", "/v1/files", `{"filename":"c.csv"}`, ""},
		{`{"id":"f2","upload_url":"https://s3.example/2"}`, "PUT", "https://s3.example/2", "MORE", "/v1/files/f2"},
		{``, "", "/v1/responses", `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"\"file_data\""},{"type":"input_file","file_id":"f/1"},{"type":"input_file","file_id":"f0"},{"type":"input_file","file_id":"f2"}]}],"task_mode":"agent"}`, ""},
		{`{"id":"t1","status":"running"}`, "GET", "/v1/responses/t1", "", ""},
	} {
		step, err := next([]byte(tt.answer))
		if err != nil || step == nil || step.Method != tt.method || step.Path+step.URL != tt.at || string(step.Body) != tt.body || strings.Join(step.Remove, " ") != tt.removes {
			t.Fatalf("%s: got %+v, %v", tt.answer, step, err)
		}
	}
	if step, err := next([]byte(`{"id":"t1","status":"completed"}`)); step != nil || err != nil {
		t.Errorf("got %+v, %v of a task that is finished", step, err)
	}
	if step, next, err := manus.New().Open(llm.Place{}, []byte(`{"input":[{"role":"user","content":"hi"}]}`)); step != nil || next != nil || err != nil {
		t.Errorf("without files: got %+v, %v", step, err)
	}
}

// TestOpen_Bad: an announcement without an address, and a file that is none, end the exchange; too many begin none.
func TestOpen_Bad(t *testing.T) {
	t.Parallel()
	const one = `{"type":"input_file","filename":"a","file_data":"data:a/b;base64,%%"}`
	for answer, want := range map[string]llm.Kind{
		`[`: llm.Upstream, `{"id":"f1"}`: llm.Upstream, `{"id":"f1","upload_url":"https://s3.example/1"}`: llm.Invalid,
	} {
		_, next, err := manus.New().Open(llm.Place{}, []byte(`{"input":[`+one+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		step, err := next([]byte(answer))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != want {
			t.Errorf("%s: got %+v, %v", answer, step, err)
		}
	}
	_, _, err := manus.New().Open(llm.Place{}, []byte(`{"input":[`+strings.Repeat(one+",", 50)+one+`]}`))
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Param != "input" {
		t.Errorf("of 51 files: got %v", err)
	}
}

// FuzzOpen: no request and no answer makes the delivery panic, and a task whose files were brought is JSON.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"input":[{"content":[{"type":"input_file","filename":"a","file_data":"data:a/b;base64,REFUQQ=="}]}]}`), []byte(`{"id":"f1","upload_url":"https://x"}`))
	f.Fuzz(func(t *testing.T, body, answer []byte) {
		step, next, err := manus.New().Open(llm.Place{}, body)
		if err != nil || step == nil || !json.Valid(body) {
			return
		}
		for range 200 {
			if step, err = next(answer); err != nil || step == nil {
				return
			}
			if step.Path == "/v1/responses" && !json.Valid(step.Body) {
				t.Fatalf("%s: sent %s", body, step.Body)
			}
			if step.Wait > 0 {
				return
			}
		}
	})
}
