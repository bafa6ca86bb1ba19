package providertest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// A conversation is a request, and what a dialect must have words for to say it.
type conversation struct {
	name  string
	needs []Lack
	req   chat.Request
}

func say(role chat.Role, parts ...chat.Part) chat.Message {
	return chat.Message{Role: role, Parts: parts}
}

func words(text string) chat.Part { return chat.Part{Text: text} }

func call(id, name, args string) chat.Part {
	p := chat.Part{Type: chat.PartToolCall, ID: id, Name: name}
	if args != "" {
		p.Arguments = json.RawMessage(args)
	}
	return p
}

func result(id string, parts ...chat.Part) chat.Part {
	return chat.Part{Type: chat.PartToolResult, ID: id, Name: map[string]string{"c1": "look", "c2": "count"}[id], Parts: parts}
}

func media(t chat.PartType, m chat.Media) chat.Part { return chat.Part{Type: t, Media: &m} }

// tools are two functions.
func tools() []chat.Tool {
	return []chat.Tool{
		{Name: "look", Description: "Looks at a place.", Parameters: json.RawMessage(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"]}`)},
		{Name: "count", Description: "Counts.", Parameters: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)},
	}
}

// pixel is a PNG image of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// conversations is the table of what must be said.
func conversations() []conversation {
	go1 := say(chat.RoleUser, words("go"))
	return []conversation{
		{"text", nil, chat.Request{Messages: []chat.Message{say(chat.RoleUser, words("Hällo \"you\"\n\u2028<&>"))}}},
		{"system", []Lack{Turns}, chat.Request{Messages: []chat.Message{say(chat.RoleSystem, words("be brief")), go1}}},
		{"turns", []Lack{Turns}, chat.Request{Messages: []chat.Message{say(chat.RoleDeveloper, words("be brief")), go1, say(chat.RoleAssistant, words("gone")), say(chat.RoleUser, words("come"))}}},
		{"turns of one side", []Lack{Turns}, chat.Request{Messages: []chat.Message{go1, say(chat.RoleUser, words("now")), say(chat.RoleAssistant, words("a")), say(chat.RoleAssistant, words("b")), go1}}},
		{"limits", []Lack{Stops}, chat.Request{Messages: []chat.Message{go1}, MaxTokens: 77, Stop: []string{"END", "STOP"}}},
		{"image by address", []Lack{Images, ImageURLs}, chat.Request{Messages: []chat.Message{say(chat.RoleUser, words("see"), media(chat.PartImage, chat.Media{URL: "https://host.example/a.png"}))}}},
		{"image", []Lack{Images}, chat.Request{Messages: []chat.Message{say(chat.RoleUser, words("see"), media(chat.PartImage, chat.Media{MIME: "image/png", Data: pixel}))}}},
		{"document", []Lack{Files}, chat.Request{Messages: []chat.Message{say(chat.RoleUser, words("read"), media(chat.PartFile, chat.Media{MIME: "application/pdf", Data: "JVBERi0xLjQK", Name: "a.pdf"}))}}},
		{"audio", []Lack{Audio}, chat.Request{Messages: []chat.Message{say(chat.RoleUser, words("hear"), media(chat.PartAudio, chat.Media{MIME: "audio/wav", Data: "UklGRgAA"}))}}},
		{"tools", []Lack{Tools}, chat.Request{Messages: []chat.Message{go1}, Tools: tools(), ToolChoice: chat.ToolChoice{Mode: "auto"}}},
		{"a tool must be called", []Lack{Tools, Choose}, chat.Request{Messages: []chat.Message{go1}, Tools: tools(), ToolChoice: chat.ToolChoice{Mode: "required"}}},
		{"this tool must be called", []Lack{Tools, Choose}, chat.Request{Messages: []chat.Message{go1}, Tools: tools(), ToolChoice: chat.ToolChoice{Mode: "tool", Name: "count"}}},
		{"call and result", []Lack{Tools}, chat.Request{Tools: tools(), Messages: []chat.Message{
			go1, say(chat.RoleAssistant, call("c1", "look", `{"at":"home"}`)), say(chat.RoleTool, result("c1", words("nothing"))),
		}}},
		{"calls in parallel", []Lack{Tools}, chat.Request{Tools: tools(), Messages: []chat.Message{
			go1, say(chat.RoleAssistant, words("both"), call("c1", "look", `{"at":"home"}`), call("c2", "count", ``)),
			say(chat.RoleTool, result("c1", words("nothing"))), say(chat.RoleTool, result("c2", words("2"))), say(chat.RoleUser, words("and?")),
		}}},
		{"a tool fails", []Lack{Tools}, chat.Request{Tools: tools(), Messages: []chat.Message{
			go1, say(chat.RoleAssistant, call("c1", "look", `{"at":"home"}`)),
			say(chat.RoleTool, chat.Part{Type: chat.PartToolResult, ID: "c1", Name: "look", Parts: []chat.Part{words("no such place")}, IsError: true}),
		}}},
		{"thoughts", []Lack{Tools, SentThoughts}, chat.Request{Tools: tools(), Messages: []chat.Message{
			go1, say(chat.RoleAssistant, chat.Part{Type: chat.PartReasoning, Text: "hm", Signature: "c2lnbmVk"}, words("I look"), call("c1", "look", `{"at":"home"}`)),
			say(chat.RoleTool, result("c1", words("nothing"))),
		}}},
		{"schema", []Lack{Schemas}, chat.Request{Messages: []chat.Message{go1}, Format: chat.Format{Type: "json_schema", Name: "place", Schema: json.RawMessage(`{"type":"object","properties":{"at":{"type":"string"}},"required":["at"],"additionalProperties":false}`)}}},
	}
}

// requests checks that each conversation is said, and means the same when it is read again.
func requests(t *testing.T, f *Format) {
	for _, c := range conversations() {
		t.Run(c.name, func(t *testing.T) {
			if slices.ContainsFunc(c.needs, f.lacks) || f.lacks(Pictureless) && !slices.Contains(c.needs, Images) {
				unsaid(t, f, &c)
				return
			}
			said(t, f, &c)
		})
	}
}

// write writes a request and checks that the writer left it alone.
func write(t *testing.T, f *Format, c *conversation) ([]byte, error) {
	t.Helper()
	c.req.Model = f.model()
	before, err := json.Marshal(c.req)
	if err != nil {
		t.Fatal(err)
	}
	body, failed := f.out.EncodeRequest(&c.req, f.target())
	after, err := json.Marshal(c.req)
	if err != nil || string(before) != string(after) {
		t.Errorf("the request was changed: %s, %v", after, err)
	}
	if again, _ := f.out.EncodeRequest(&c.req, f.target()); string(again) != string(body) && !f.lacks(Repeats) {
		t.Errorf("written again it differs:\n%s\n%s", body, again)
	}
	return body, failed
}

// said checks what can be said.
func said(t *testing.T, f *Format, c *conversation) {
	body, err := write(t, f, c)
	if err != nil {
		t.Fatal(err)
	}
	if !f.lacks(JSON) && !json.Valid(body) {
		t.Fatalf("not JSON: %s", body)
	}
	if f.in == nil {
		return
	}
	q, err := f.in.DecodeRequest(body)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if c.req.MaxTokens == 0 {
		q.MaxTokens = 0 // some vendors must be told a limit
	}
	if d := cmp.Diff(f.meaning(&c.req), f.meaning(q)); d != "" {
		t.Errorf("(-meant +read)\n%s\n%s", d, body)
	}
}

// unsaid checks what cannot be said: it is left out and named, or refused, but no accident.
func unsaid(t *testing.T, f *Format, c *conversation) {
	body, err := write(t, f, c)
	if err == nil && !f.lacks(JSON) && !json.Valid(body) {
		t.Errorf("not JSON: %s", body)
	}
	if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.Kind != llm.Invalid) {
		t.Errorf("got %v, want an error of kind Invalid", err)
	}
}

// brokenRequests checks that no value of a wrong type is an accident.
func brokenRequests(t *testing.T, f *Format) {
	for _, c := range conversations() {
		c.req.Model = f.model()
		body, err := f.out.EncodeRequest(&c.req, f.target())
		if err != nil {
			continue
		}
		mutate(body, func(b []byte) {
			q, err := f.in.DecodeRequest(b)
			if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.Kind != llm.Invalid || e.Message == "") {
				t.Errorf("%s: got %v, want an error of kind Invalid", b, err)
			}
			if err == nil && q == nil {
				t.Errorf("%s: got neither request nor error", b)
			}
		})
	}
}
