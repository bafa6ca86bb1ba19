// Package elastic is the callback that indexes finished requests in Elasticsearch or OpenSearch.
package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxBatch is how many documents go into one bulk request.
const maxBatch = 500

// Config is the configuration.
type Config struct {
	URL      string `json:"url"`             // https://host:9200
	Index    string `json:"index,omitempty"` // index or data stream; default conclave-requests; %Y, %m and %d are the day's
	APIKey   string `json:"api_key,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	sink.HTTP
}

// Elastic indexes documents.
type Elastic struct {
	cfg    Config
	client *sink.Client
}

// Configure implements sdk.Callback.
func (e *Elastic) Configure(_ context.Context, s sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := Config{Index: "conclave-requests"}
	if err := sink.ReadConfig(s.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if _, err := sink.URL("url", cfg.URL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if plain := strings.NewReplacer("%Y", "", "%m", "", "%d", "").Replace(cfg.Index); plain == "" || plain != strings.ToLower(plain) {
		return sdk.CallbackDescription{}, errors.New("index: must be in lower case")
	}
	client, err := sink.NewClient(cfg.HTTP, true)
	e.cfg, e.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (e *Elastic) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxBatch, e.send)
}

// send creates a document for each record, under an id of its own, so that one that comes twice is
// stored once.
func (e *Elastic) send(ctx context.Context, records []sdk.Record) (int, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i := range records {
		r := &records[i]
		action := map[string]any{"create": map[string]string{"_index": e.index(r), "_id": fmt.Sprintf("%s-%d", r.NodeID, r.Position)}}
		doc := struct {
			Timestamp string `json:"@timestamp"`
			*payload.Payload
		}{r.StartedAt.UTC().Format("2006-01-02T15:04:05.000000Z"), payload.Of(r)}
		if err := errors.Join(enc.Encode(action), enc.Encode(doc)); err != nil {
			return 0, fmt.Errorf("encode document: %w", err)
		}
	}
	h := http.Header{"Content-Type": {"application/x-ndjson"}}
	switch {
	case e.cfg.APIKey != "":
		h.Set("Authorization", "ApiKey "+e.cfg.APIKey)
	case e.cfg.Username != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(e.cfg.Username, e.cfg.Password)
	}
	answer, err := e.client.Do(ctx, &sink.Request{URL: strings.TrimSuffix(e.cfg.URL, "/") + "/_bulk", Header: h, Body: body.Bytes()})
	if err != nil {
		return 0, err
	}
	return taken(answer, len(records))
}

func (e *Elastic) index(r *sdk.Record) string {
	at := r.StartedAt.UTC()
	return strings.NewReplacer("%Y", at.Format("2006"), "%m", at.Format("01"), "%d", at.Format("02")).Replace(e.cfg.Index)
}

// indexErrors are the types of errors with status 400 that are about an index, not a document.
var indexErrors = []string{"index_closed_exception", "index_not_found_exception", "invalid_index_name_exception", "validation_exception"}

// taken reads which documents were stored, up to the first that was not. What stands behind it
// comes again, and its ids show that it was there.
func taken(answer []byte, n int) (int, error) {
	var res struct {
		Errors bool `json:"errors"`
		Items  []map[string]struct {
			Status int `json:"status"`
			Error  struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return 0, fmt.Errorf("read answer to bulk request: %w", err)
	}
	if !res.Errors {
		return n, nil
	}
	if len(res.Items) != n {
		return 0, fmt.Errorf("answer to bulk request tells of %d documents, not %d", len(res.Items), n)
	}
	for i, item := range res.Items {
		for _, doc := range item {
			switch {
			case doc.Status/100 == 2, doc.Status == http.StatusConflict: // it is there
			case !sink.Rejects(doc.Status) || slices.Contains(indexErrors, doc.Error.Type):
				return i, fmt.Errorf("document is answered %d %s: %s", doc.Status, sink.Reason([]byte(doc.Error.Type)), sink.Reason([]byte(doc.Error.Reason)))
			default:
				return i, &sdk.CallbackRefused{Reason: fmt.Sprintf("answered %d: %s", doc.Status, sink.Reason([]byte(doc.Error.Type)))}
			}
		}
	}
	return n, nil
}
