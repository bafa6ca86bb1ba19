package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
)

// The tools that stand for all others where there are more than the setting mcp_search_above.
const (
	searchTools = "search_tools"
	callByName  = "call_tool"
)

const (
	defaultFound = 10
	mostFound    = 50
)

// searching are the tools of a caller who has too many to list.
var searching = []*sdk.Tool{
	{
		Name: searchTools, Annotations: &sdk.ToolAnnotations{ReadOnlyHint: true},
		Description: "Finds tools by words of their names and descriptions. Call what it finds with " + callByName + ".",
		InputSchema: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","description":"Words that say what the tool should do"},"limit":{"type":"integer","minimum":1,"maximum":50}},"required":["query"]}`),
	},
	{
		Name:        callByName,
		Description: "Calls a tool that " + searchTools + " has found.",
		InputSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object"}},"required":["name"]}`),
	},
}

// listed are the caller's tools as he is shown them: all, or those that search among them.
func (c *caller) listed(ctx context.Context) []*sdk.Tool {
	all := c.tools(ctx)
	if most := c.cat.Settings().MCPSearchAbove; most > 0 && int64(len(all)) > most {
		return searching
	}
	return all
}

// meta calls a tool that stands for others; ok is false for any other name.
func (c *caller) meta(ctx context.Context, name string, arguments json.RawMessage) (res *sdk.CallToolResult, ok bool, err error) {
	if name != searchTools && name != callByName || c.cat.Settings().MCPSearchAbove == 0 {
		return nil, false, nil
	}
	var in struct {
		Query     string          `json:"query"`
		Limit     int             `json:"limit"`
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(arguments, &in); err != nil {
		return nil, true, &llm.Error{Kind: llm.Invalid, Code: "invalid_arguments", Message: "The arguments of " + name + " cannot be read.", Err: err}
	}
	if name == searchTools {
		res, err = c.search(ctx, in.Query, in.Limit)
		return res, true, err
	}
	if in.Name == callByName || in.Name == searchTools {
		return nil, true, unknown(in.Name)
	}
	res, err = c.call(ctx, in.Name, in.Arguments)
	return res, true, err
}

// search finds the tools that have most of the query's words.
func (c *caller) search(ctx context.Context, query string, limit int) (*sdk.CallToolResult, error) {
	type one struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		InputSchema any    `json:"input_schema"`
		score       int
	}
	words := strings.Fields(strings.ToLower(query))
	found := []one{}
	for _, t := range c.tools(ctx) {
		if score := matches(words, strings.ToLower(t.Name), strings.ToLower(t.Description)); score > 0 {
			found = append(found, one{t.Name, t.Description, t.InputSchema, score})
		}
	}
	slices.SortStableFunc(found, func(a, b one) int { return cmp.Compare(b.score, a.score) })
	if limit <= 0 {
		limit = defaultFound
	}
	found = found[:min(len(found), limit, mostFound)]
	b, err := json.Marshal(map[string]any{"tools": found})
	if err != nil {
		return nil, err
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: string(b)}}}, nil
}

// matches counts the words in a name, three times each, and in a description.
func matches(words []string, name, description string) (score int) {
	for _, w := range words {
		if strings.Contains(name, w) {
			score += 3
		}
		if strings.Contains(description, w) {
			score++
		}
	}
	return score
}
