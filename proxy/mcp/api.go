package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/proxy/mcp/openapi"
	"github.com/conclave-llm/conclave/resource"
)

// maxAPIAnswer bounds what is read of an API's answer.
const maxAPIAnswer = 1 << 20

// newAPI makes the server of an API: in this process, a tool for each operation of its document.
func (l *link) newAPI(ctx context.Context, h http.Header) (sdk.Transport, error) {
	b, err := l.document(ctx)
	if err != nil {
		return nil, fmt.Errorf("read document of %s: %w", l.server.Name, err)
	}
	doc, err := openapi.Parse(b)
	if err != nil {
		return nil, err
	}
	base, err := doc.Base(l.server.URL)
	if err != nil {
		return nil, err
	}
	client := l.client(base, h)
	s := sdk.NewServer(&sdk.Implementation{Name: l.server.Name, Version: l.all.cfg.Version}, nil)
	for i := range doc.Operations {
		o := &doc.Operations[i]
		s.AddTool(&sdk.Tool{
			Name: o.Name, Description: o.Description, InputSchema: o.Schema, Annotations: &sdk.ToolAnnotations{ReadOnlyHint: o.ReadOnly},
		}, func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
			return callAPI(ctx, client, base, o, req.Params.Arguments)
		})
	}
	ours, theirs := sdk.NewInMemoryTransports()
	if _, err := s.Connect(l.all.ctx, theirs, nil); err != nil { // it ends with the session
		return nil, fmt.Errorf("serve document of %s: %w", l.server.Name, err)
	}
	return ours, nil
}

// document is the description of the API: a blob, or what its URL gives.
func (l *link) document(ctx context.Context) ([]byte, error) {
	if resource.ValidDigest(l.server.Spec) {
		if l.all.cfg.Blob == nil {
			return nil, errors.New("there are no blobs here")
		}
		return l.all.cfg.Blob(ctx, l.server.Spec)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.Spec, http.NoBody) //nolint:gosec // an admin's record says where
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	client := &http.Client{Transport: l.all.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it may not redirect") }}
	resp, err := client.Do(r) //nolint:gosec // likewise
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is of no use
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its URL answers with status %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, openapi.MaxDocument+1))
}

// callAPI makes one request. What the API refuses is a result that has failed, which its caller may read.
func callAPI(ctx context.Context, client *http.Client, base *url.URL, o *openapi.Operation, arguments json.RawMessage) (*sdk.CallToolResult, error) {
	r, err := o.Request(ctx, base, arguments)
	if err != nil {
		return failedResult(err.Error()), nil
	}
	resp, err := client.Do(r) //nolint:gosec // to the API's own origin alone
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return failedResult("The API cannot be reached."), nil
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is of no use
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIAnswer+1))
	if err != nil {
		return failedResult("The API's answer has not come whole."), nil
	}
	text := string(b)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case len(b) > maxAPIAnswer:
		return failedResult(fmt.Sprintf("The API's answer is over %d MiB. Ask for less.", maxAPIAnswer>>20)), nil
	case !utf8.Valid(b):
		text = fmt.Sprintf("[%d bytes of the type %s, which are not shown]", len(b), kind)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return failedResult(strings.TrimSpace(fmt.Sprintf("The API answers with status %d. %s", resp.StatusCode, text))), nil
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}, nil
}

func failedResult(text string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}, IsError: true}
}
