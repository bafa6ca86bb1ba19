package mcp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/llm"
)

// restList is LiteLLM's list of tools for clients that do not speak the protocol.
func (g *Gateway) restList(w http.ResponseWriter, r *http.Request) {
	c, err := g.admit(r, w)
	if err != nil {
		g.refuse(w, err)
		return
	}
	c.server = r.URL.Query().Get("server_id")
	tools := c.listed(r.Context())
	g.answer(w, map[string]any{"tools": tools, "error": nil, "message": "Successfully retrieved tools"})
}

// restCall is LiteLLM's call of a tool likewise.
func (g *Gateway) restCall(w http.ResponseWriter, r *http.Request) {
	c, err := g.admit(r, w)
	if err != nil {
		g.refuse(w, err)
		return
	}
	result, err := c.restCall(w, r)
	if err != nil {
		var theirs *serverError
		if errors.As(err, &theirs) && !theirs.judged {
			err = &llm.Error{Kind: llm.Upstream, Code: "mcp_server_refused", Message: cut(theirs.wire.Message, 4096)}
		}
		g.refuse(w, err)
		return
	}
	g.answer(w, result)
}

func (c *caller) restCall(w http.ResponseWriter, r *http.Request) (*sdk.CallToolResult, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, &llm.Error{Kind: llm.TooLarge, Message: "The body is too large, or did not come whole.", Err: err}
	}
	in, err := parseRest(b)
	if err != nil {
		return nil, err
	}
	c.server = in.ServerID
	return c.call(r.Context(), in.Name, in.Arguments)
}

// restRequest is the body of a call.
type restRequest struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	ServerID  string          `json:"server_id"`
}

func parseRest(b []byte) (in restRequest, err error) {
	if err := json.Unmarshal(b, &in); err != nil {
		return in, &llm.Error{Kind: llm.Invalid, Message: "The body is not {\"name\": …, \"arguments\": {…}}.", Err: err}
	}
	if in.Name == "" {
		return in, &llm.Error{Kind: llm.Invalid, Code: "missing_name", Param: "name", Message: "The call names no tool."}
	}
	return in, nil
}

func (g *Gateway) answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		g.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // who does not listen any more needs no answer
}
