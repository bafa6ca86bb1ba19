package datadog_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/datadog"
	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

func TestDatadog(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "{}")
	config := map[string]any{"url": s.URL + "/api/v2/logs", "api_key": "dd-key", "env": "prod", "service": "llm"}
	sinktest.Behaves(t, func() sdk.Callback { return &datadog.Datadog{} }, s, sinktest.Config{Value: config, Secrets: []string{"dd-key"}},
		func(r *sinktest.Request) (int, string) {
			if r.Header.Get("DD-API-KEY") != "dd-key" || r.Path != "/api/v2/logs" || r.Header.Get("Content-Type") != "application/json" {
				return http.StatusForbidden, "no key"
			}
			return http.StatusAccepted, "{}"
		})
	d := &datadog.Datadog{}
	sinktest.Configure(t, d, config)
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusAccepted, "{}" })
	sinktest.Deliver(t, d, sinktest.Records(2))
	got := s.Take()[0]
	if got.Header.Get("Content-Encoding") != "gzip" {
		t.Error("it is not compressed, as Datadog recommends")
	}
	var logs []struct {
		Source  string `json:"ddsource"`
		Tags    string `json:"ddtags"`
		Host    string `json:"hostname"`
		Message string
		Service string
		Status  string
	}
	got.JSON(t, &logs)
	if len(logs) != 2 || logs[0].Status != "info" || logs[1].Status != "error" || logs[0].Service != "llm" || logs[0].Host != "node_a" ||
		logs[0].Tags != "env:prod,model:fast,provider:openai,team:research,status:success" {
		t.Errorf("got %+v", logs)
	}
	var p payload.Payload
	if err := json.Unmarshal([]byte(logs[1].Message), &p); err != nil || p.Error.Class != "budget_exceeded" {
		t.Errorf("message %q, %v", logs[1].Message, err)
	}
	records := sinktest.Records(2)
	now := time.Now().UTC()
	records[0].StartedAt, records[1].StartedAt = now.Add(-time.Hour), now.Add(-19*time.Hour)
	sinktest.Deliver(t, d, records)
	var dated []map[string]any
	again := s.Take()
	again[0].JSON(t, &dated)
	if want := now.Add(-time.Hour + records[0].Duration).Format("2006-01-02T15:04:05.000Z"); dated[0]["timestamp"] != want || dated[1]["timestamp"] != nil {
		t.Errorf("the logs say that they are of %v and %v, want %s and nothing: Datadog takes none that is older than 18 hours", dated[0]["timestamp"], dated[1]["timestamp"], want)
	}
	if sinktest.Try(&datadog.Datadog{}, map[string]any{}) == nil || sinktest.Try(&datadog.Datadog{}, map[string]any{"api_key": "k", "site": "evil/x"}) == nil {
		t.Error("a configuration without a key, or with another host as site, is taken")
	}
}
