package helicone_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/helicone"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

type log struct {
	Request struct {
		URL  string
		JSON map[string]any
		Meta map[string]string
	} `json:"providerRequest"`
	Response struct {
		JSON   map[string]any
		Status int
	} `json:"providerResponse"`
	Timing struct {
		StartTime, EndTime struct{ Seconds, Milliseconds int64 }
	}
}

func logs(r *sinktest.Request) (int, string) {
	var l log
	switch {
	case r.Header.Get("Authorization") != "Bearer hk":
		return http.StatusUnauthorized, ""
	case r.Path != "/custom/v1/log":
		return http.StatusNotFound, ""
	case json.Unmarshal(r.Body, &l) != nil || l.Request.URL != "custom-model-nopath" || l.Request.JSON == nil || l.Response.JSON == nil || l.Response.Status == 0 || l.Timing.StartTime.Seconds == 0:
		return http.StatusBadRequest, "not a log"
	}
	return http.StatusOK, ""
}

func TestHelicone(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"url": s.URL, "api_key": "hk"}
	sinktest.Behaves(t, func() sdk.Callback { return &helicone.Helicone{} }, s, sinktest.Config{Value: config, Secrets: []string{"Bearer hk"}}, logs)
	h := &helicone.Helicone{}
	sinktest.Configure(t, h, config)
	s.Answer(logs)
	sinktest.DeliverEach(t, h, append(sinktest.Records(1), sinktest.Telling(sinktest.Records(1))...))
	got := s.Take()
	var plain, told log
	got[0].JSON(t, &plain)
	got[1].JSON(t, &told)
	usage, _ := plain.Response.JSON["usage"].(map[string]any)
	if plain.Request.JSON["model"] != "gpt-x" || usage["total_tokens"] != 125.0 || plain.Request.Meta["Helicone-User-Id"] != "customer, 7" ||
		plain.Timing.EndTime.Seconds-plain.Timing.StartTime.Seconds != 1 || plain.Timing.EndTime.Milliseconds != 623 {
		t.Errorf("got %+v", plain)
	}
	if !strings.Contains(string(got[1].Body), sinktest.Canary+" said") || told.Request.JSON["messages"] == nil {
		t.Errorf("got %+v", told)
	}
	if sinktest.Try(&helicone.Helicone{}, map[string]any{}) == nil {
		t.Error("no key is taken")
	}
}
