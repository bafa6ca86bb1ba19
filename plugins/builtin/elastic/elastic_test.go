package elastic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/elastic"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// bulk answers as Elasticsearch does: each document by its own status.
func bulk(t *testing.T, docs map[string]string, status func(id string) int) func(r *sinktest.Request) (int, string) {
	return func(r *sinktest.Request) (int, string) {
		if r.Path != "/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" || !strings.HasSuffix(string(r.Body), "\n") {
			return http.StatusBadRequest, "The bulk request must be terminated by a newline"
		}
		if r.Header.Get("Authorization") != "ApiKey k" {
			return http.StatusUnauthorized, "{}"
		}
		lines := r.Lines()
		var items []string
		failed := false
		for i := 0; i+1 < len(lines); i += 2 {
			var action struct {
				Create struct {
					Index string `json:"_index"`
					ID    string `json:"_id"`
				}
			}
			if err := json.Unmarshal([]byte(lines[i]), &action); err != nil || action.Create.ID == "" {
				t.Errorf("action %q: %v", lines[i], err)
			}
			code := status(action.Create.ID)
			key := action.Create.Index + "/" + action.Create.ID
			if _, there := docs[key]; there {
				code = http.StatusConflict
			}
			if code == http.StatusCreated {
				docs[key] = lines[i+1]
			} else {
				failed = true
			}
			items = append(items, fmt.Sprintf(`{"create":{"_id":%q,"status":%d,"error":{"type":"e%d","reason":"why"}}}`, action.Create.ID, code, code))
		}
		return http.StatusOK, fmt.Sprintf(`{"took":1,"errors":%t,"items":[%s]}`, failed, strings.Join(items, ","))
	}
}

func TestElastic(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := map[string]any{"url": s.URL + "/", "api_key": "k", "index": "llm-%Y.%m.%d"}
	created := func(string) int { return http.StatusCreated }
	sinktest.Behaves(t, func() sdk.Callback { return &elastic.Elastic{} }, s, sinktest.Config{Value: config},
		bulk(t, map[string]string{}, created))

	docs := map[string]string{}
	e := &elastic.Elastic{}
	sinktest.Configure(t, e, config)
	s.Answer(bulk(t, docs, func(id string) int {
		if id == "node_a-3" {
			return http.StatusTooManyRequests
		}
		return http.StatusCreated
	}))
	records := sinktest.Records(5)
	if n, err := e.Deliver(t.Context(), records); n != 2 || err == nil {
		t.Errorf("delivered %d, %v, want two until the cluster has room", n, err)
	}
	s.Answer(bulk(t, docs, created))
	sinktest.Deliver(t, e, records[2:])
	if len(docs) != 5 {
		t.Errorf("%d documents, want each once: %v", len(docs), docs)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(docs["llm-2026.03.01/node_a-1"]), &doc); err != nil || doc["@timestamp"] != "2026-03-01T12:30:00.123000Z" || doc["model_group"] != "fast" {
		t.Errorf("document %v, %v", doc, err)
	}
	s.Answer(bulk(t, map[string]string{}, func(id string) int {
		if id == "node_a-2" {
			return http.StatusBadRequest
		}
		return http.StatusCreated
	}))
	n, err := e.Deliver(t.Context(), records)
	if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 1 || !refused {
		t.Errorf("delivered %d, %v, want a refusal of the second", n, err)
	}
	const item = `{"errors":true,"items":[{"create":{"status":%d,"error":{"type":%q,"reason":"r"}}},{"create":{"status":201}}]}`
	for kind, status := range map[string]int{
		"security_exception": http.StatusForbidden, "cluster_block_exception": http.StatusForbidden, "es_rejected_execution_exception": http.StatusTooManyRequests,
		"index_not_found_exception": http.StatusNotFound, "index_closed_exception": http.StatusBadRequest, "unauthorized": http.StatusUnauthorized,
	} {
		sinktest.Keeps(t, e, s, http.StatusOK, fmt.Sprintf(item, status, kind))
	}
	sinktest.Refuses(t, e, s, http.StatusOK, fmt.Sprintf(item, http.StatusBadRequest, "document_parsing_exception"))
	if sinktest.Try(&elastic.Elastic{}, map[string]any{"url": s.URL, "index": "Upper"}) == nil {
		t.Error("an index that there cannot be is taken")
	}
}
