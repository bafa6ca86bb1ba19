package gemini

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
)

// known are the members at the top of a request that DecodeRequest reads.
var known = map[string]bool{
	"contents": true, "systemInstruction": true, "tools": true, "toolConfig": true, "generationConfig": true, "serviceTier": true, "model": true,
}

// passed are the members at the top that are Google's alone and are handed on to Google.
var passed = []string{"cachedContent", "labels", "modelArmorConfig", "safetySettings", "store"}

// extraConfig and extraTools are where Extra holds what is left of the objects of those names.
const (
	extraConfig = "generationConfig"
	extraTools  = "toolConfig"
)

// invalid makes the error of a request.
func invalid(param, format string, args ...any) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: param, Message: fmt.Sprintf(format, args...)}
}

// DecodeRequest implements provider.Inbound.
func (Dialect) DecodeRequest(body []byte) (*chat.Request, error) {
	body = camel(body)
	var w request
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, readError("", err)
	}
	req := new(chat.Request)
	if err := decodeTurns(req, &w); err != nil {
		return nil, err
	}
	if err := decodeTools(req, w.Tools); err != nil {
		return nil, err
	}
	if err := decodeChoice(req, w.ToolConfig); err != nil {
		return nil, err
	}
	if err := decodeConfig(req, w.GenerationConfig); err != nil {
		return nil, err
	}
	switch w.ServiceTier {
	case "", "unspecified":
	case "standard":
		req.ServiceTier = "default"
	default:
		req.ServiceTier = w.ServiceTier
	}
	return req, decodeExtra(req, body)
}

// readError says where a request's JSON is wrong.
func readError(within string, err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := strings.Trim(within+"."+wrong.Field, ".")
		return invalid(field, "%s must not be a %s.", orBody(field), wrong.Value)
	}
	return invalid(within, "The request could not be read: %s.", err)
}

func orBody(field string) string {
	if field == "" {
		return "The body"
	}
	return field
}

// decodeExtra keeps what the dialects have no word for.
func decodeExtra(req *chat.Request, body []byte) error {
	var all, config, tools map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return readError("", err)
	}
	rest := func(name string, into *map[string]json.RawMessage, drop func(string) bool) error {
		if len(all[name]) == 0 {
			return nil
		}
		if err := json.Unmarshal(all[name], into); err != nil {
			return readError(name, err)
		}
		for k := range *into {
			if drop(k) {
				delete(*into, k)
			}
		}
		if len(*into) == 0 {
			return nil
		}
		raw, err := json.Marshal(*into)
		if err != nil {
			return readError(name, err)
		}
		setExtra(req, name, raw)
		return nil
	}
	if err := rest(extraConfig, &config, func(k string) bool {
		return configNames[k] && (k != "speechConfig" || req.Audio != nil)
	}); err != nil {
		return err
	}
	if err := rest(extraTools, &tools, func(k string) bool { return k == "functionCallingConfig" }); err != nil {
		return err
	}
	for k, v := range all {
		if !known[k] {
			setExtra(req, k, v)
		}
	}
	return nil
}

func setExtra(req *chat.Request, name string, v json.RawMessage) {
	if req.Extra == nil {
		req.Extra = make(map[string]json.RawMessage)
	}
	req.Extra[name] = v
}

// decodeTurns reads the instruction and the contents.
func decodeTurns(req *chat.Request, w *request) error {
	d := turnReader{}
	if w.SystemInstruction != nil {
		m := chat.Message{Role: chat.RoleSystem}
		if err := d.parts(&m, w.SystemInstruction.Parts, "systemInstruction"); err != nil {
			return err
		}
		if len(m.Parts) > 0 {
			req.Messages = append(req.Messages, m)
		}
	}
	if len(w.Contents) == 0 {
		return invalid("contents", "contents is missing or empty.")
	}
	for i := range w.Contents {
		list, err := d.content(&w.Contents[i], i)
		if err != nil {
			return err
		}
		req.Messages = append(req.Messages, list...)
	}
	return nil
}

// turnReader reads turns and finds the call that each result is for.
type turnReader struct {
	open []chat.Part // calls that have no result yet
	made int         // ids that were made
}

// content reads one turn. Results of tools stand among a user's parts there; here they are a
// message of their own, before what the user says beside them.
func (d *turnReader) content(c *wireContent, i int) ([]chat.Message, error) {
	m := chat.Message{Role: chat.RoleUser}
	switch c.Role {
	case "model":
		m.Role = chat.RoleAssistant
	case "", "user", "function", "tool":
	case "system":
		m.Role = chat.RoleSystem
	default:
		return nil, invalid(fmt.Sprintf("contents[%d].role", i), "The role of contents[%d] must be \"user\" or \"model\".", i)
	}
	if err := d.parts(&m, c.Parts, fmt.Sprintf("contents[%d]", i)); err != nil {
		return nil, err
	}
	var results []chat.Part
	m.Parts = slices.DeleteFunc(m.Parts, func(p chat.Part) bool {
		if p.Type == chat.PartToolResult {
			results = append(results, p)
			return true
		}
		return false
	})
	var list []chat.Message
	if len(results) > 0 {
		list = append(list, chat.Message{Role: chat.RoleTool, Parts: results})
	}
	if len(m.Parts) > 0 {
		list = append(list, m)
	}
	return list, nil
}

func (d *turnReader) parts(m *chat.Message, raws []json.RawMessage, at string) error {
	for j, raw := range raws {
		var w wirePart
		where := fmt.Sprintf("%s.parts[%d]", at, j)
		if err := json.Unmarshal(raw, &w); err != nil {
			return readError(where, err)
		}
		if err := d.part(m, &w, raw, where); err != nil {
			return err
		}
	}
	return nil
}

// part adds a part, before it what its signature belongs to.
func (d *turnReader) part(m *chat.Message, w *wirePart, raw json.RawMessage, where string) error {
	signature, data := fromClient(w.ThoughtSignature)
	if w.FunctionCall == nil && (signature != "" || data != "") && !w.Thought {
		m.Parts = append(m.Parts, chat.Part{Type: chat.PartReasoning, Signature: signature, Data: data})
	}
	switch {
	case w.Thought:
		text := ""
		if w.Text != nil {
			text = *w.Text
		}
		m.Parts = append(m.Parts, chat.Part{Type: chat.PartReasoning, Text: text, Signature: signature, Data: data})
	case w.Text != nil:
		if *w.Text != "" {
			m.Parts = append(m.Parts, chat.Part{Type: chat.PartText, Text: *w.Text})
		}
	case w.InlineData != nil:
		m.Parts = append(m.Parts, mediaPart(&chat.Media{Data: stdBase64(w.InlineData.Data), MIME: w.InlineData.MIMEType, Name: w.InlineData.DisplayName}))
	case w.FileData != nil:
		m.Parts = append(m.Parts, mediaPart(&chat.Media{URL: w.FileData.FileURI, MIME: w.FileData.MIMEType, Name: w.FileData.DisplayName}))
	case w.FunctionCall != nil:
		return d.call(m, w, where)
	case w.FunctionResponse != nil:
		return d.result(m, w.FunctionResponse, where)
	case len(bytes.TrimSpace(raw)) <= 2 || w.ThoughtSignature != "":
	default:
		m.Parts = append(m.Parts, chat.Part{Type: chat.PartOther, Raw: bytes.Clone(raw), Origin: origin})
	}
	return nil
}

func (d *turnReader) call(m *chat.Message, w *wirePart, where string) error {
	c := w.FunctionCall
	if c.Name == "" {
		return invalid(where+".functionCall.name", "%s.functionCall has no name.", where)
	}
	p := chat.Part{Type: chat.PartToolCall, ID: c.ID, Name: c.Name, Arguments: c.Args, Signature: w.ThoughtSignature}
	if p.ID == "" {
		p.ID = fmt.Sprintf("call_%d_%s", d.made, c.Name)
		d.made++
	}
	if string(p.Arguments) == "null" {
		p.Arguments = nil
	}
	m.Parts = append(m.Parts, p)
	d.open = append(d.open, p)
	return nil
}

// result reads the result of the call with its id, else of the first open call with its name.
func (d *turnReader) result(m *chat.Message, r *functionResp, where string) error {
	if r.Name == "" {
		return invalid(where+".functionResponse.name", "%s.functionResponse has no name.", where)
	}
	p := chat.Part{Type: chat.PartToolResult, ID: r.ID, Name: r.Name}
	i := slices.IndexFunc(d.open, func(c chat.Part) bool {
		return r.ID != "" && c.ID == r.ID || r.ID == "" && c.Name == r.Name
	})
	switch {
	case i >= 0:
		p.ID = d.open[i].ID
		d.open = slices.Delete(d.open, i, i+1)
	case p.ID == "":
		p.ID = fmt.Sprintf("call_%d_%s", d.made, r.Name)
		d.made++
	}
	text, failed := resultText(r.Response)
	p.IsError = failed
	if text != "" {
		p.Parts = append(p.Parts, chat.Part{Type: chat.PartText, Text: text})
	}
	inner := chat.Message{}
	if err := (&turnReader{}).parts(&inner, r.Parts, where+".functionResponse"); err != nil {
		return err
	}
	p.Parts = append(p.Parts, inner.Parts...)
	m.Parts = append(m.Parts, p)
	return nil
}

// resultText is the text of a response, which Google wants as an object: the text of its
// "output", "result" or "error" if it has but one of them, else the object itself.
func resultText(raw json.RawMessage) (text string, failed bool) {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) == nil && len(o) == 1 {
		for _, name := range []string{"output", "result", "error"} {
			if v, ok := o[name]; ok {
				var s string
				if json.Unmarshal(v, &s) == nil {
					return s, name == "error"
				}
				return string(v), name == "error"
			}
		}
	}
	if string(raw) == "null" {
		return "", false
	}
	return string(raw), false
}

// mediaPart is a part of the type that the media's MIME type says.
func mediaPart(m *chat.Media) chat.Part {
	p := chat.Part{Type: chat.PartFile, Media: m}
	switch kind, _, _ := strings.Cut(m.MIME, "/"); {
	case kind == "image":
		p.Type = chat.PartImage
	case kind == "audio":
		p.Type = chat.PartAudio
	case kind == "video", strings.Contains(m.URL, "youtube.com/"), strings.Contains(m.URL, "youtu.be/"):
		p.Type = chat.PartVideo
	}
	return p
}

// stdBase64 is base64 in the standard alphabet with padding; protobuf's JSON takes the URL's
// alphabet, and no padding, too.
func stdBase64(data string) string {
	if strings.ContainsAny(data, "-_") {
		data = strings.NewReplacer("-", "+", "_", "/").Replace(data)
	}
	if n := len(data) % 4; n > 1 {
		data += "=="[:4-n]
	}
	return data
}
