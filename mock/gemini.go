package mock

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// skipSignature is what Google takes for the signature of a call that it did not make.
const skipSignature = "skip_thought_signature_validator"

// googleVerbs answer what stands behind a model and a colon in Google's paths.
var googleVerbs = map[string]func(*Server, *exchange) error{
	"generateContent":       (*Server).generateContent,
	"streamGenerateContent": (*Server).generateContent,
	"countTokens":           (*Server).countGoogle,
}

// googleCall splits a path of Google's: ".../models/MODEL:VERB". ok is false for any other.
func googleCall(path string) (model, verb string, ok bool) {
	_, call, ok := strings.Cut(path, "/models/")
	if !ok {
		return "", "", false
	}
	i := strings.LastIndexByte(call, ':')
	if i < 1 || googleVerbs[call[i+1:]] == nil {
		return "", "", false
	}
	return call[:i], call[i+1:], true
}

// googleRequest is what is read of a request in Google's format.
type googleRequest struct {
	Contents []googleContent `json:"contents"`
	Tools    []struct {
		Functions []struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
			JSONSchema json.RawMessage `json:"parametersJsonSchema"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	ToolConfig struct {
		Calling struct {
			Mode    string   `json:"mode"`
			Allowed []string `json:"allowedFunctionNames"`
		} `json:"functionCallingConfig"`
	} `json:"toolConfig"`
	Config struct {
		MIMEType   string          `json:"responseMimeType"`
		Schema     json.RawMessage `json:"responseSchema"`
		JSONSchema json.RawMessage `json:"responseJsonSchema"`
		Probs      bool            `json:"responseLogprobs"`
		Top        probs           `json:"logprobs"`
		Thinking   struct {
			Include bool `json:"includeThoughts"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
}

type googleContent struct {
	Role  string       `json:"role"`
	Parts []googlePart `json:"parts"`
}

type googlePart struct {
	Text      string          `json:"text"`
	Signature string          `json:"thoughtSignature"`
	Call      json.RawMessage `json:"functionCall"`
	Result    json.RawMessage `json:"functionResponse"`
}

// readGoogle reads a request and refuses what Google does.
func (x *exchange) readGoogle() (req googleRequest, err error) {
	if err := json.Unmarshal(x.body, &req); err != nil {
		return req, refused("Invalid JSON payload received: " + err.Error())
	}
	if len(req.Contents) == 0 {
		return req, refused("* GenerateContentRequest.contents: contents is not specified")
	}
	calls := 0 // of the content before
	for i := range req.Contents {
		if calls, err = x.checkContent(&req.Contents[i], calls, "contents["+strconv.Itoa(i)+"]"); err != nil {
			return req, err
		}
	}
	for _, t := range req.Tools {
		for _, f := range t.Functions {
			if err := checkSchema(f.Parameters, "tools.function_declarations."+f.Name+".parameters"); err != nil {
				return req, err
			}
		}
	}
	return req, checkSchema(req.Config.Schema, "generation_config.response_schema")
}

// checkContent checks a turn: that it has parts, gives a result for each of the calls before it,
// and that the first of its calls is signed where the model wants that.
func (x *exchange) checkContent(c *googleContent, before int, at string) (calls int, err error) {
	switch {
	case c.Role != "" && c.Role != "user" && c.Role != "model" && c.Role != "function":
		return 0, refused("Please use a valid role: user, model.")
	case len(c.Parts) == 0:
		return 0, refused("* GenerateContentRequest." + at + ".parts: contents.parts must not be empty.")
	}
	results := 0
	for i := range c.Parts {
		p := &c.Parts[i]
		switch {
		case p.Result != nil:
			results++
		case p.Call != nil:
			calls++
		}
		if err := p.checkSignature(calls == 1 && strings.Contains(x.fields.Model, "gemini-3")); err != nil {
			return 0, err
		}
	}
	if results != before {
		return 0, refused("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.")
	}
	return calls, nil
}

// checkSignature refuses signatures that are not the mock's own. A call must have one if needed.
func (p *googlePart) checkSignature(needed bool) error {
	switch {
	case p.Signature == signature, p.Call != nil && p.Signature == skipSignature:
	case p.Signature != "":
		return refused("Corrupted thought signature.")
	case p.Call != nil && needed:
		return refused("Function call is missing a thought_signature in functionCall parts.")
	}
	return nil
}

// schemaNames are the members that Google's Schema has.
var schemaNames = []string{
	"type", "format", "title", "description", "nullable", "enum", "items", "maxItems", "minItems", "properties", "required", "minProperties",
	"maxProperties", "minimum", "maximum", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering", "default",
}

// checkSchema refuses what Google's Schema has no field for.
func checkSchema(raw json.RawMessage, at string) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var o map[string]json.RawMessage
	if err := json.Unmarshal(raw, &o); err != nil {
		return refused("Invalid value at '" + at + "': it is no schema")
	}
	for name, v := range o {
		if !slices.Contains(schemaNames, name) {
			return refused("Invalid JSON payload received. Unknown name \"" + name + "\" at '" + at + "': Cannot find field.")
		}
		var err error
		switch name {
		case "items":
			err = checkSchema(v, at+".items")
		case "properties":
			err = checkProperties(v, at+".properties")
		case "anyOf":
			err = checkAlternatives(v, at+".any_of")
		}
		if err != nil {
			return err
		}
	}
	if string(o["type"]) == `"ARRAY"` && len(o["items"]) == 0 {
		return refused("* " + at + ".items: missing field.")
	}
	return nil
}

func checkProperties(raw json.RawMessage, at string) error {
	var props map[string]json.RawMessage
	if err := json.Unmarshal(raw, &props); err != nil || len(props) == 0 {
		return refused("* " + at + ": should be non-empty for OBJECT type")
	}
	for name, v := range props {
		if err := checkSchema(v, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func checkAlternatives(raw json.RawMessage, at string) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return refused("Invalid value at '" + at + "'")
	}
	for _, v := range list {
		if err := checkSchema(v, at); err != nil {
			return err
		}
	}
	return nil
}

// generateContent answers generateContent and streamGenerateContent.
func (s *Server) generateContent(x *exchange) error {
	req, err := x.readGoogle()
	if err != nil {
		return err
	}
	rp := reply{finish: "SAFETY"} // which says nothing
	if !x.plan.refuse {
		if rp, err = x.googleReply(&req); err != nil {
			return err
		}
	}
	if req.Config.Thinking.Include {
		rp.thinks = thoughts
	}
	if req.Config.Probs && rp.tool == "" {
		rp.probs = 1 + min(req.Config.Top, maxAlternatives)
	}
	x.count(&rp)
	if len(x.plan.usage) < 4 {
		rp.usage.reasoning = int64(len(rp.thinks))
	}
	g := googleAnswer{x: x, rp: &rp, id: s.ids.Add(1)}
	if x.fields.Stream {
		return g.stream()
	}
	return x.send(&rp, g.whole())
}

// countGoogle answers countTokens, which costs nothing.
func (s *Server) countGoogle(x *exchange) error {
	x.entry.Whole = true
	n := max(1, (x.fields.PromptBytes+3)/4)
	writeJSON(x.w, map[string]any{"totalTokens": n, "promptTokensDetails": []map[string]any{{"modality": "TEXT", "tokenCount": n}}})
	return nil
}

// googleReply decides what is answered: the call of a tool that is forced, or of the first unless
// a tool has just answered, else what is asked for in the form that is asked for.
func (x *exchange) googleReply(req *googleRequest) (rp reply, err error) {
	last := req.Contents[len(req.Contents)-1]
	answered := false
	text := []byte("nothing")
	for _, p := range last.Parts {
		answered = answered || p.Result != nil
		if p.Text != "" {
			q := llm.AppendString(nil, p.Text)
			text = q[1 : len(q)-1]
		}
	}
	calling := req.ToolConfig.Calling
	forced := calling.Mode == "ANY"
	if calling.Mode != "NONE" && (forced || !answered) {
		for _, t := range req.Tools {
			for _, f := range t.Functions {
				if len(calling.Allowed) == 0 || slices.Contains(calling.Allowed, f.Name) {
					return reply{tool: f.Name, args: pieces(googleExample(f.Parameters, f.JSONSchema)), finish: "STOP"}, nil
				}
			}
		}
		if forced {
			return rp, refused("Function calling config is set without function_declarations.")
		}
	}
	rp = reply{finish: "STOP"}
	switch c := req.Config; {
	case len(c.Schema)+len(c.JSONSchema) > 0:
		rp.pieces = pieces(googleExample(c.Schema, c.JSONSchema))
	case c.MIMEType == "application/json":
		rp.pieces = pieces(map[string]any{"answer": "text"})
	default:
		rp.pieces = x.echo(text)
	}
	if rp.limit(x.fields.MaxTokens); rp.finish == "length" {
		rp.finish = "MAX_TOKENS"
	}
	return rp, nil
}

// googleExample is a value for one of the two schemas that a request may have.
func googleExample(own, other json.RawMessage) any {
	raw := own
	if len(raw) == 0 {
		raw = other
	}
	var s schema
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return map[string]any{}
	}
	return s.example(0)
}

// writeGoogleError writes an error in Google's shape.
func writeGoogleError(w http.ResponseWriter, e *llm.Error) {
	if e.Kind == llm.Canceled {
		return
	}
	status := map[int]string{
		400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 413: "INVALID_ARGUMENT",
		429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}[e.HTTPStatus()]
	if status == "" {
		status = "INTERNAL"
	}
	body := map[string]any{"code": e.HTTPStatus(), "message": e.Message, "status": status}
	if e.RetryAfter > 0 {
		body["details"] = []map[string]string{{
			"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": strconv.FormatFloat(e.RetryAfter.Seconds(), 'f', -1, 64) + "s",
		}}
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(e.HTTPStatus())
	writeJSON(w, map[string]any{"error": body})
}
