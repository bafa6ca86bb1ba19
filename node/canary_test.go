package node_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-llm/conclave/node/nodetest"
)

// canary is a text that stands in one place of a team's request.
func canary(team, place string) string { return "canary-" + team + "-" + place + "-7f3a91" }

// canaryCall is one request with canaries in it.
type canaryCall struct {
	place  string
	path   string
	body   func(at func(place string) string) fields
	status int  // that is expected; 0: any
	unkept bool // nothing of it is a content that callbacks get: only what must not leak is looked at
}

func imageURL(text string) string {
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n"+strings.Repeat(text, 3)))
}

func userSays(content any) []fields { return []fields{{"role": "user", "content": content}} }

// canaryCalls have canaries wherever a client may write: in every dialect, in the arguments and
// results of tools, pictures, reasoning, and in what errors of the provider and of guardrails quote.
var canaryCalls = []canaryCall{
	{place: "text", path: "/v1/chat/completions", status: 200, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"messages": userSays(at("text"))})
	}},
	{place: "stream", path: "/v1/chat/completions", status: 200, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"stream": true, "messages": userSays(at("stream"))})
	}},
	{place: "arguments", path: "/v1/chat/completions", status: 200, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{
			"tools": []fields{{"type": "function", "function": fields{"name": "look", "description": at("tool"), "parameters": fields{"type": "object"}}}},
			"messages": []fields{
				{"role": "user", "content": "look"},
				{"role": "assistant", "reasoning_content": at("reasoning"), "tool_calls": []fields{
					{"id": "c1", "type": "function", "function": fields{"name": "look", "arguments": `{"x":"` + at("arguments") + `"}`}},
				}},
				{"role": "tool", "tool_call_id": "c1", "content": at("result")},
			},
		})
	}},
	{place: "image", path: "/v1/chat/completions", status: 200, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"messages": userSays([]fields{
			{"type": "text", "text": at("image")}, {"type": "image_url", "image_url": fields{"url": imageURL(at("picture"))}},
		})})
	}},
	{place: "completions", path: "/v1/completions", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "prompt": at("completions")}
	}},
	{place: "embeddings", path: "/v1/embeddings", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "input": at("embeddings")}
	}},
	{place: "messages", path: "/v1/messages", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "max_tokens": 8, "system": at("system"), "messages": userSays(at("messages"))}
	}},
	{place: "responses", path: "/v1/responses", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "instructions": at("instructions"), "input": at("responses")}
	}},
	{place: "generate", path: "/v1beta/models/demo:generateContent", status: 200, body: func(at func(string) string) fields {
		return fields{"contents": []fields{{"role": "user", "parts": []fields{{"text": at("generate")}}}}}
	}},
	{place: "converse", path: "/model/demo/converse", status: 200, body: func(at func(string) string) fields {
		return fields{"messages": []fields{{"role": "user", "content": []fields{{"text": at("converse")}}}}}
	}},
	{place: "moderations", path: "/v1/moderations", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "input": at("moderations")}
	}},
	{place: "images", path: "/v1/images/generations", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "demo", "prompt": at("images")}
	}},
	{place: "speech", path: "/v1/audio/speech", status: 200, unkept: true, body: func(at func(string) string) fields {
		return fields{"model": "demo", "voice": "alloy", "input": at("speech")}
	}},
	{place: "rerank", path: "/v1/rerank", status: 200, body: func(at func(string) string) fields {
		return fields{"model": "ranker", "query": at("rerank"), "documents": []string{at("document")}}
	}},
	{place: "quoted", path: "/v1/chat/completions", status: 400, unkept: true, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"model": "quoter", "messages": userSays(at("quoted"))})
	}},
	{place: "quotedstream", path: "/v1/chat/completions", unkept: true, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"model": "streamquoter", "stream": true, "messages": userSays(at("quotedstream"))})
	}},
	{place: "quotedcrash", path: "/v1/messages", unkept: true, body: func(at func(string) string) fields {
		return fields{"model": "crashquoter", "max_tokens": 8, "messages": userSays(at("quotedcrash"))}
	}},
	{place: "badfield", path: "/v1/messages", status: 400, unkept: true, body: func(at func(string) string) fields {
		return fields{"model": "demo", "max_tokens": 8, "messages": at("badfield")}
	}},
	{place: "badjson", path: "/v1/responses", unkept: true, body: func(at func(string) string) fields {
		return fields{"model": "demo", "input": []any{fields{"type": at("badtype"), "text": at("badjson")}}}
	}},
	{place: "blocked", path: "/v1/chat/completions", status: 400, unkept: true, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"messages": userSays("forbiddenword " + at("blocked"))})
	}},
	{place: "masked", path: "/v1/chat/completions", status: 200, unkept: true, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"messages": userSays("write to " + at("masked") + "@example.com")})
	}},
	{place: "refused", path: "/v1/chat/completions", status: 200, body: func(at func(string) string) fields {
		return nodetest.ChatBody(fields{"messages": userSays(at("refused"))})
	}},
}

// quoter is an upstream whose errors quote what it was asked.
func quoter(t *testing.T, answer func(w http.ResponseWriter, said string)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		answer(w, string(b))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

var canaryWord = regexp.MustCompile(`canary-[a-z0-9-]+-7f3a91`)

func quoted(said string) []byte {
	code := canaryWord.FindString(said) // no word can be trusted
	b, _ := json.Marshal(fields{"error": fields{"message": "this is not to our taste: " + said, "type": code, "param": said, "code": code}})
	return b
}

// refuser is an upstream that refuses all that it is asked, with a quote.
func refuser(t *testing.T) string {
	return quoter(t, func(w http.ResponseWriter, said string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(quoted(said))
	})
}

func quoters(t *testing.T, c *nodetest.Cluster) {
	c.Model("quoter", refuser(t))
	c.Model("streamquoter", quoter(t, func(w http.ResponseWriter, said string) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"so \"}}]}\n\ndata: %s\n\n", quoted(said))
	}))
	if _, err := c.Nodes[0].Admin().Models().Create(t.Context(), fields{
		"name": "ranker", "deployments": []any{fields{"name": "ranker-1", "provider": "jina_ai", "api_base": c.MockURL, "model": "ranker", "api_key": "k", "price": fields{"input": 1}}},
	}); err != nil {
		t.Fatal(err)
	}
	c.Model("crashquoter", quoter(t, func(w http.ResponseWriter, said string) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "panic while reading "+said)
	}))
}

// canarySink is the server of all sinks: it keeps what came, and refuses one record.
type canarySink struct {
	*httptest.Server
	mu  sync.Mutex // guards all
	all map[string]string
}

const canaryRefused = "of-quiet-refused" // the record that becomes a dead letter

func newCanarySink(t *testing.T) *canarySink {
	s := &canarySink{all: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all[r.URL.Path] += string(b)
		if strings.Contains(string(b), canaryRefused) {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *canarySink) at(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[path]
}

// canarySinks are callbacks that take contents: a webhook, one of whose records is refused, so that
// it becomes a dead letter, a file, and Slack and Sentry, which are told of errors.
func canarySinks(t *testing.T, c *nodetest.Cluster, in *canarySink) {
	t.Helper()
	api := c.Nodes[0].Admin()
	for _, doc := range []fields{
		{"name": "hook", "plugin": "webhook", "config": fields{"url": in.URL + "/hook", "format": "ndjson"}},
		{"name": "slack", "plugin": "slack", "secrets": fields{"webhook_url": in.URL + "/slack"}},
		{"name": "sentry", "plugin": "sentry", "secrets": fields{"dsn": strings.Replace(in.URL, "://", "://key@", 1) + "/1"}},
		{"name": "file", "plugin": "file", "config": fields{"path": "told.jsonl"}},
	} {
		maps.Copy(doc, fields{"content": true})
		if _, err := api.Callbacks().Create(t.Context(), doc); err != nil {
			t.Fatalf("%s: %v", doc["name"], err)
		}
	}
	for _, doc := range []fields{
		{"name": "words", "plugin": "keywords", "hooks": []string{"before"}, "config": fields{"words": []string{"forbiddenword"}}},
		{"name": "persons", "plugin": "pii", "hooks": []string{"before"}},
	} {
		if _, err := api.Guardrails().Create(t.Context(), doc); err != nil {
			t.Fatalf("%s: %v", doc["name"], err)
		}
	}
	c.Sync(api)
	c.AwaitReady()
	for _, name := range []string{"hook", "file"} {
		c.Await("the callback "+name+" to take a test event", func() bool {
			tested, err := api.TestCallback(t.Context(), name)
			return err == nil && tested.OK
		})
	}
}

// TestCanary sends canaries through every endpoint from two teams, of which one has its contents
// logged and one has not. What the first said comes to the callbacks; of what the second said
// nothing stands in any sink, dead letter, row, audit entry, backup, log or file of any node (AC-47).
func TestCanary(t *testing.T) {
	t.Parallel()
	c := nodetest.Start(t, 3)
	api := c.Nodes[0].Admin()
	if _, err := api.Settings().Create(t.Context(), fields{"id": "log_content", "value": true}); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, team := range []fields{{"id": "loud"}, {"id": "quiet", "log_content": false}} {
		if _, err := api.Teams().Create(t.Context(), team); err != nil {
			t.Fatal(err)
		}
		keys[team["id"].(string)] = c.Key(0, fields{"team_id": team["id"]}).Secret
	}
	quoters(t, c)
	openCanaryDoors(t, c)
	in := newCanarySink(t)
	canarySinks(t, c, in)
	quiet := map[string]bool{}
	for _, team := range []string{"loud", "quiet"} {
		at := func(place string) string {
			text := canary(team, place)
			if team == "quiet" {
				quiet[text] = true
				quiet[base64.StdEncoding.EncodeToString([]byte(strings.Repeat(text, 3)))[:40]] = true
			}
			return text
		}
		for i, call := range canaryCalls {
			n := c.Nodes[i%len(c.Nodes)]
			status, b := n.Do("POST", call.path, keys[team], call.body(at), "x-request-id", "of-"+team+"-"+call.place)
			if call.status != 0 && status != call.status {
				t.Errorf("%s of %s: got %d %.300s, want %d", call.place, team, status, b, call.status)
			}
		}
		for i, door := range canaryDoors {
			door.use(&canaryVisit{T: t, c: c, n: c.Nodes[i%len(c.Nodes)], key: keys[team], team: team, id: "of-" + team + "-" + door.place, at: at})
		}
	}
	for _, call := range canaryCalls {
		if !call.unkept {
			c.Await("the callbacks are told what the loud team said in "+call.place, func() bool {
				return strings.Contains(in.at("/hook"), canary("loud", call.place))
			})
		}
		if call.place != "refused" {
			c.Await("the callbacks are told of the quiet team's "+call.place, func() bool { return strings.Contains(in.at("/hook"), "of-quiet-"+call.place) })
		}
	}
	for _, door := range canaryDoors {
		if door.told {
			c.Await("the callbacks are told of the quiet team's "+door.place, func() bool { return strings.Contains(in.at("/hook"), "of-quiet-"+door.place) })
		}
		if door.kept {
			c.Await("the callbacks are told what the loud team said in "+door.place, func() bool { return strings.Contains(in.at("/hook"), canary("loud", door.place)) })
		}
	}
	c.Await("the calls of tools that are not listed", func() bool { return strings.Contains(in.at("/hook"), `"mcp/remote-unlisted"`) })
	c.Await("the dead letter", func() bool {
		dead, err := api.DeadLetters(t.Context(), "hook")
		return err == nil && len(dead.Items) == 1
	})
	for where, text := range canaryPlaces(t, c, in) {
		for _, text2 := range slices.Sorted(maps.Keys(quiet)) {
			if i := bytes.Index(text, []byte(text2)); i >= 0 {
				t.Errorf("%s stands in %s: %.300s", text2, where, text[max(0, i-150):])
			}
		}
	}
	for _, n := range c.Nodes {
		for text := range quiet {
			if paths := holding(t, n.Dir, text); len(paths) > 0 {
				t.Errorf("%s stands in %v", text, paths)
			}
		}
	}
}

// canaryPlaces is all that the cluster and its sinks have to say.
func canaryPlaces(t *testing.T, c *nodetest.Cluster, in *canarySink) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"the nodes' logs": []byte(c.Log.String()), "the webhook": []byte(in.at("/hook"))}
	for _, path := range []string{"/slack", "/api/1/envelope/"} {
		all[path] = []byte(in.at(path))
		if len(all[path]) == 0 {
			t.Errorf("nothing came to %s", path)
		}
	}
	for _, n := range c.Nodes {
		for _, path := range []string{
			"/api/v1/requests?limit=500", "/api/v1/requests/export?format=json", "/api/v1/audit?limit=500", "/api/v1/callbacks/hook/dead-letters", "/spend/logs",
			"/api/v1/callbacks", "/api/v1/guardrails", "/metrics", "/api/v1/cluster/snapshots/current/download",
		} {
			status, b := n.Do("GET", path, nodetest.MasterKey, nil)
			if status != 200 {
				t.Errorf("%s: got %d %.200s", path, status, b)
			}
			all[n.Name+" "+path] = b
		}
		for _, call := range canaryCalls {
			path := "/api/v1/requests/of-quiet-" + call.place + "?content=true"
			_, all[n.Name+" "+path] = n.Do("GET", path, nodetest.MasterKey, nil)
			path = "/spend/logs/ui/of-quiet-" + call.place
			_, all[n.Name+" "+path] = n.Do("GET", path, nodetest.MasterKey, nil)
		}
		if files, _ := filepath.Glob(filepath.Join(n.Dir, "*", "told.jsonl")); len(files) == 0 && lines(filepath.Join(n.Dir, "told.jsonl")) == 0 {
			t.Errorf("%s: the file of the callback is empty", n.Name)
		}
	}
	return all
}
