package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
)

const (
	// maxBulkBody bounds the body of a call that writes many records.
	maxBulkBody = 8 << 20
	// bulkRead is how long such a body may take to arrive.
	bulkRead = 30 * time.Second
)

type bulkInput struct {
	Existing string `query:"existing" enum:"refuse,skip" default:"refuse" doc:"what to do with a key whose name or secret another has: refuse all, or skip it"`
	DryRun   bool   `query:"dry_run" doc:"check all and make none"`
	RawBody  []byte
}

type bulkOutput struct {
	Written
	Body client.MadeKeys
}

// registerBulk registers the creating of many keys at once.
func (s *Server) registerBulk() {
	op := operation("bulk-create-keys", http.MethodPost, "/keys/bulk", "Create up to 10,000 keys, all or none")
	op.Description = "The body is a JSON array of keys, or one key a line; a key is what POST /keys takes. " +
		"The answer has the ids and secrets in the same order. An error about one key names its index, from 0."
	op.MaxBodyBytes, op.BodyReadTimeout = maxBulkBody, bulkRead
	op.DefaultStatus = http.StatusCreated
	registerWith(s, op, func(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
		docs, err := records.ParseDocuments(copied(in.RawBody))
		if err != nil {
			return nil, s.problem(err)
		}
		how := records.Bulk{SkipExisting: in.Existing == "skip", DryRun: in.DryRun}
		made, w, err := s.rs.CreateKeys(ctx, callerOf(ctx), docs, how)
		if err != nil {
			return nil, s.problem(err)
		}
		return &bulkOutput{Written: headersOf(w), Body: made}, nil
	})
	s.api.OpenAPI().Paths[op.Path].Post.RequestBody = bulkBody(s)
}

// bulkBody describes the body, which is read as bytes.
func bulkBody(s *Server) *huma.RequestBody {
	key := s.api.OpenAPI().Paths[Prefix+"/keys"].Post.RequestBody.Content["application/json"].Schema
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json":     {Schema: &huma.Schema{Type: huma.TypeArray, Items: key, MinItems: new(1), MaxItems: new(records.MaxBulk)}},
		"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}},
	}}
}
