package node_test

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// canaryDoor is a way in that is no single request with a body of JSON. It is used once for each team.
type canaryDoor struct {
	place string // the ids of its requests begin with "of-TEAM-PLACE"
	told  bool   // the callbacks get a record of such an id
	kept  bool   // and what was said, of the team that has it logged
	use   func(d *canaryVisit)
}

// canaryVisit is one use of a door.
type canaryVisit struct {
	*testing.T
	c    *nodetest.Cluster
	n    *nodetest.Node
	key  string
	team string
	id   string // with which the ids of its requests begin
	asks int    // so far; contents are kept by the id
	at   func(place string) string
}

// do sends a request that has to be answered so; 0: anyhow.
func (v *canaryVisit) do(method, path string, in any, want int, header ...string) map[string]any {
	v.Helper()
	v.asks++
	status, b := v.n.Do(method, path, v.key, in, append(header, "x-request-id", v.id+"-"+strconv.Itoa(v.asks))...)
	if want != 0 && status != want {
		v.Errorf("%s of %s: got %d %.300s, want %d", path, v.id, status, b, want)
	}
	if !bytes.HasPrefix(b, []byte("{")) || status != want {
		return nil
	}
	return decoded(v.T, b)
}

// form sends a form with a file.
func (v *canaryVisit) form(path, file, content string, want int, pairs ...string) map[string]any {
	v.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(pairs); i += 2 {
		_ = w.WriteField(pairs[i], pairs[i+1])
	}
	part, err := w.CreateFormFile("file", file)
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		v.Fatal(err)
	}
	return v.do("POST", path, body.Bytes(), want, "Content-Type", w.FormDataContentType())
}

// What names a thing (of a file, a server, the metadata of a batch) is no content, and stands in the state as ids do.
var canaryDoors = []canaryDoor{
	{place: "upload", use: func(v *canaryVisit) {
		f := v.form("/v1/files", "in.txt", v.at("upload"), 200, "purpose", "user_data")
		if f != nil {
			v.do("GET", "/v1/files/"+f["id"].(string), nil, 200)
		}
		v.form("/v1/files", "in.txt", v.at("upload2"), 400, "purpose", v.at("purpose"))
		v.form("/v1/files", "in.jsonl", v.at("upload3"), 200, "purpose", "batch")
	}},
	{place: "batch", use: canaryBatch},
	{place: "transcription", told: true, kept: true, use: func(v *canaryVisit) {
		v.form("/v1/audio/transcriptions", v.at("soundname")+".wav", v.at("sound"), 200, "model", "demo", "prompt", v.at("transcription"))
	}},
	{place: "translation", told: true, use: func(v *canaryVisit) {
		v.form("/v1/audio/translations", "a.wav", v.at("sound2"), 200, "model", "demo", "prompt", v.at("translation"))
		v.form("/v1/audio/translations", "a.wav", v.at("sound3"), 0, "model", "quoter", "prompt", v.at("translation2"))
	}},
	{place: "session", use: canarySession},
	{place: "lane", kept: true, use: func(v *canaryVisit) {
		s, _ := dialTalk(v.T, v.n, "/v1/responses", v.key)
		s.turn(v.T, `{"type":"response.create","model":"demo","store":true,"instructions":%q,"input":%q}`, v.at("laneinstructions"), v.at("lane"))
		s.send(v.T, `{"type":"%s","model":"demo"}`, v.at("lanetype"))
		_, _ = s.await(v.T, "error")
	}},
	{place: "tool", kept: true, use: canaryTool},
	{place: "agent", kept: true, use: canaryAgent},
	{place: "passed", told: true, kept: true, use: func(v *canaryVisit) {
		v.do("POST", "/openai/v1/chat/completions", nodetest.ChatBody(fields{"model": "open", "messages": userSays(v.at("passed"))}), 200)
		v.do("POST", "/openai/v1/chat/completions?q="+v.at("passedquery"), fields{"model": "openquoter", "messages": userSays(v.at("passedquote"))}, 400)
		v.do("POST", "/openai/v1/"+v.at("passedpath"), fields{"model": "openquoter", "x": v.at("passedpathquote")}, 400)
	}},
	{place: "relayed", told: true, use: func(v *canaryVisit) {
		v.do("POST", "/v1/conversations", fields{"items": userSays(v.at("relayed")), "metadata": fields{"x": v.at("relayedmeta")}}, 0, "x-conclave-owner", "")
		v.do("POST", "/v1/vector_stores/vs_1/search?x="+v.at("relayedquery"), fields{"query": v.at("relayedsearch")}, 0)
		v.form("/v1/uploads/u/parts", "part", v.at("relayedpart"), 0)
	}},
	{place: "configured", told: true, kept: true, use: func(v *canaryVisit) {
		v.do("POST", "/tools/search/"+v.at("configuredpath")+"?q="+v.at("configuredquery"), fields{"text": v.at("configured")}, 200)
		v.do("GET", "/tools/fail/"+v.at("configuredfail")+"?q="+v.at("configuredfailquery"), nil, 500)
	}},
	{place: "nowhere", use: func(v *canaryVisit) {
		v.do("POST", "/v1/"+v.at("nowhere")+"?x="+v.at("nowherequery"), fields{"input": v.at("nowherebody")}, 404)
	}},
}

// canaryBatch orders lines of which one is refused, one cannot be read and one is quoted.
func canaryBatch(v *canaryVisit) {
	lines := `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"demo","messages":[{"role":"user","content":"` + v.at("line") + `"}]}}` + "\n" +
		`{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"quoter","messages":[{"role":"user","content":"` + v.at("linequoted") + `"}]}}` + "\n" +
		`{"custom_id":"` + v.at("lineid") + `","method":"POST","url":"/v1/chat/completions","body":{"model":"unheard-of","messages":[{"role":"user","content":"` + v.at("linerefused") + `"}]}}` + "\n"
	f := v.form("/v1/files", "in.jsonl", lines, 200, "purpose", "batch")
	bad := v.form("/v1/files", "in.jsonl", `{"custom_id":"`+v.at("linebroken"), 200, "purpose", "batch")
	if f == nil || bad == nil {
		return
	}
	order := func(file any) map[string]any {
		b := v.do("POST", "/v1/batches", fields{"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": fields{"job": "night"}}, 200)
		v.c.Await("the batch of "+v.team+" to end", func() bool {
			_, raw := v.n.Do("GET", "/v1/batches/"+b["id"].(string), v.key, nil)
			b = decoded(v.T, raw)
			return b["status"] == "completed" || b["status"] == "failed"
		})
		return b
	}
	if b := order(f["id"]); b["output_file_id"] == nil || b["error_file_id"] == nil {
		v.Errorf("the batch: %v", b)
	}
	if b := order(bad["id"]); b["status"] != "failed" {
		v.Errorf("the batch of a broken line: %v", b)
	}
}

// canarySession talks, also nonsense, and says something that the provider quotes in an error.
func canarySession(v *canaryVisit) {
	s, status := dialTalk(v.T, v.n, "/v1/realtime?model=demo", v.key)
	if s == nil {
		v.Fatalf("no session: %d", status)
	}
	s.send(v.T, `{"type":"session.update","session":{"type":"realtime","instructions":%q,"output_modalities":["text"],"audio":{"input":{"turn_detection":null}}}}`, v.at("sessioninstructions"))
	s.send(v.T, `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":%q}]}}`, v.at("session"))
	s.send(v.T, `{"type":"response.create","response":{"max_output_tokens":40,"instructions":%q}}`, v.at("sessionresponse"))
	_, _ = s.await(v.T, "response.done")
	s.send(v.T, `{"type":%q,"event_id":%q}`, v.at("sessiontype"), v.at("sessionevent"))
	_, _ = s.await(v.T, "error")
	s.send(v.T, `{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":%q}]}}`, "forbiddenword "+v.at("sessionblocked"))
	s.send(v.T, `{"type":"response.create","response":{"max_output_tokens":40}}`)
	_, _ = s.await(v.T, "error", "response.done")
	s.send(v.T, `{"type":"conversation.item.create","x":%s`, v.at("sessionbroken"))
	_, _ = s.await(v.T, "error")
}

// canaryTool calls tools, prompts and resources of a server, and such as are not there.
func canaryTool(v *canaryVisit) {
	s := mcpSession(v.T, v.n.URL+"/mcp", v.key, http.Header{"X-Request-Id": {v.id}})
	if got, err := callText(v.T, s, "remote-echo", fields{"text": v.at("tool")}); err != nil || !strings.Contains(got, v.at("tool")) {
		v.Errorf("echo: %s, %v", got, err)
	}
	for _, call := range []struct {
		tool string
		args any
	}{
		{"remote-fail", fields{"text": v.at("toolfails")}},
		{"remote-fail", fields{"text": "protocol " + v.at("toolrefuses")}},
		{"remote-echo", fields{"text": []string{v.at("toolbadtype")}}},
		{"remote-echo", fields{"text": "forbiddenword " + v.at("toolblocked")}},
		{"remote-" + v.at("toolname"), fields{"text": v.at("toolunknown")}},
		{v.at("servername") + "-echo", fields{}},
	} {
		_, _ = callText(v.T, s, call.tool, call.args)
	}
	_, _ = s.GetPrompt(v.Context(), &sdk.GetPromptParams{Name: "remote-hello", Arguments: map[string]string{"who": v.at("toolprompt")}})
	_, _ = s.GetPrompt(v.Context(), &sdk.GetPromptParams{Name: "remote-" + v.at("toolpromptname")})
	_, _ = s.ReadResource(v.Context(), &sdk.ReadResourceParams{URI: "file:///" + v.at("tooluri")})
	v.do("POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"`+v.at("toolmethod")+`"}`, 0)
	v.do("POST", "/mcp-rest/tools/call", fields{"server_id": "remote", "name": "remote-echo", "arguments": fields{"text": v.at("toolrest")}}, 0)
}

// canaryAgent has a model call a tool, which gets what the user said.
func canaryAgent(v *canaryVisit) {
	tool := fields{"type": "mcp", "server_label": "r", "server_url": "litellm_proxy/mcp/remote", "require_approval": "never", "allowed_tools": []string{"echo"}}
	v.do("POST", "/v1/chat/completions", fields{"model": "demo", "messages": userSays(v.at("agent")), "tools": []fields{tool}}, 200)
	v.do("POST", "/v1/responses", fields{"model": "demo", "input": v.at("agentresponses"), "tools": []fields{tool}}, 200)
	v.do("POST", "/v1/responses", fields{"model": "demo", "stream": true, "input": v.at("agentstream"), "tools": []fields{tool}}, 200)
	v.do("POST", "/v1/messages", fields{
		"model": "demo", "max_tokens": 99, "messages": userSays(v.at("agentmessages")), "mcp_servers": []fields{{"type": "url", "name": "r", "url": "litellm_proxy/mcp/remote"}},
	}, 200)
	tool["server_label"], tool["server_url"] = v.at("agentlabel"), "litellm_proxy/mcp/nowhere"
	v.do("POST", "/v1/chat/completions", fields{"model": "demo", "messages": userSays(v.at("agentrefused")), "tools": []fields{tool}}, 0)
}

// failing is a tool whose errors quote what it was asked.
func failing(_ context.Context, _ *sdk.CallToolRequest, in struct {
	Text string `json:"text"`
},
) (*sdk.CallToolResult, any, error) {
	if strings.HasPrefix(in.Text, "protocol ") {
		return nil, nil, &jsonrpc.Error{Code: -32000, Message: "I do not like " + in.Text}
	}
	r, _, _ := said("cannot " + in.Text)
	r.IsError = true
	return r, nil, nil
}

// openCanaryDoors makes what the doors lead to.
func openCanaryDoors(t *testing.T, c *nodetest.Cluster) {
	t.Helper()
	u := newUpstreamMCP(t)
	sdk.AddTool(u.server, &sdk.Tool{Name: "fail"}, failing)
	api := c.Nodes[0].Admin()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(r.URL.Path, "/fail") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, r.URL.String()+" "+string(b))
	}))
	t.Cleanup(target.Close)
	open := func(name, base string) fields {
		return fields{"name": name, "deployments": []any{fields{
			"name": name + "-1", "provider": "openai", "api_base": base, "model": name, "api_key": nodetest.UpstreamKey,
			"options": fields{"use_in_pass_through": "true"}, "price": fields{"input": 1},
		}}}
	}
	for _, doc := range []fields{open("open", c.MockURL), open("openquoter", refuser(t))} {
		if _, err := api.Models().Create(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	for path, doc := range map[string]fields{
		"/api/v1/mcp/servers":            {"name": "remote", "url": u.url, "allow_all_keys": true},
		"/api/v1/pass-through-endpoints": {"name": "search", "path": "/tools", "target": target.URL, "include_subpath": true},
	} {
		if status, b := c.Nodes[0].Do("POST", path, nodetest.MasterKey, doc, "x-conclave-min-index", api.Index()); status != 201 {
			t.Fatalf("%s: got %d %s", path, status, b)
		}
	}
}
