package sentry_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/sentry"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

func relay(r *sinktest.Request) (int, string) {
	lines := r.Lines()
	var item struct {
		Type   string
		Length int
	}
	switch {
	case r.Path != "/sub/api/42/envelope/" || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key=public"):
		return http.StatusForbidden, "no project"
	case len(lines) != 3 || json.Unmarshal([]byte(lines[1]), &item) != nil || item.Type != "event" || item.Length != len(lines[2]):
		return http.StatusBadRequest, "no envelope"
	}
	return http.StatusOK, `{"id":"x"}`
}

func TestSentry(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"dsn": strings.Replace(s.URL, "://", "://public@", 1) + "/sub/42", "statuses": []string{"success", "failure", "blocked", "canceled"}}
	sinktest.Behaves(t, func() sdk.Callback { return &sentry.Sentry{} }, s, sinktest.Config{Value: config, Secrets: []string{"public"}}, relay)
	c := &sentry.Sentry{}
	delete(config, "statuses")
	sinktest.Configure(t, c, config)
	s.Answer(relay)
	sinktest.Deliver(t, c, sinktest.Telling(sinktest.Records(4)))
	sinktest.Deliver(t, c, sinktest.Records(4))
	got := s.Take()
	if len(got) != 2 || got[0].Lines()[0] != got[1].Lines()[0] {
		t.Fatalf("%d events, want that of the failure, under one id", len(got))
	}
	event := got[0].Lines()[2]
	for _, want := range []string{`"value":"budget_exceeded: The team has spent its budget."`, `"team":"research"`, `"request_id":"req-2"`} {
		if !strings.Contains(event, want) {
			t.Errorf("%s is not in %s", want, event)
		}
	}
	if strings.Contains(event, sinktest.Canary) {
		t.Error("content is told")
	}
	for _, dsn := range []string{"", "https://host/1", "https://key@host", "ftp://k@host/1"} {
		if sinktest.Try(&sentry.Sentry{}, map[string]any{"dsn": dsn}) == nil {
			t.Errorf("%q is taken", dsn)
		}
	}
}
