package chat

import (
	"encoding/json"
	"slices"
)

// Request asks a model to go on with a conversation. Numbers that a client may leave out are
// pointers; nil means that it did.
type Request struct {
	Model    string
	Messages []Message // in order; instructions are messages of RoleSystem or RoleDeveloper
	Stream   bool
	// IncludeUsage says that a client whose dialect leaves the usage of a stream out wants it.
	IncludeUsage bool

	MaxTokens        int64 // of output, reasoning included; 0: the model's own
	Temperature      *float64
	TopP             *float64
	TopK             *int64
	MinP             *float64
	FrequencyPenalty *float64
	PresencePenalty  *float64
	Stop             []string
	Seed             *int64
	N                int64 // choices; 0 is 1
	LogProbs         bool
	TopLogProbs      int64
	LogitBias        json.RawMessage // OpenAI's object; nil: none

	Tools         []Tool
	ToolChoice    ToolChoice
	ParallelTools *bool

	Format     Format
	Reasoning  Reasoning
	Modalities []string        // of the answer: "text", "audio", "image"; nil: text
	Audio      json.RawMessage // OpenAI's "audio": voice and format of an answer that is spoken
	Prediction json.RawMessage // OpenAI's "prediction"
	WebSearch  json.RawMessage // OpenAI's "web_search_options"
	Verbosity  string          // "low", "medium", "high"
	Apart      bool            // the messages are texts of their own, each of which is to be completed
	Suffix     string          // what follows the text that is to be completed, in the one dialect that has it; "": nothing

	// AnswerID is the id of the answer, where the gateway stores it; "": it is the provider's. Dialects whose answers have
	// items make the items' ids of it.
	AnswerID string

	User        string
	ServiceTier string
	CacheKey    string // OpenAI's "prompt_cache_key"
	Metadata    json.RawMessage
	// CacheControl is a mark on the request itself, as Anthropic has it: cache up to the last
	// block that can be.
	CacheControl json.RawMessage

	// Extra holds the members at the top that the dialect's reader does not know, for a writer
	// of the same vendor's family. Every other writer names them as dropped.
	Extra map[string]json.RawMessage
}

// Role is who speaks.
type Role string

// The roles.
const (
	RoleSystem    Role = "system"
	RoleDeveloper Role = "developer"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool" // its parts are results of tools
)

// Message is one turn.
type Message struct {
	Role  Role
	Name  string // of the speaker, "" for none
	Parts []Part
	Extra map[string]json.RawMessage // members that the reader does not know
}

// PartType is what a part holds.
type PartType uint8

// The types of parts.
const (
	PartText       PartType = iota
	PartImage               // Media
	PartAudio               // Media
	PartVideo               // Media
	PartFile                // Media: a document
	PartToolCall            // of an assistant: ID, Name, Arguments
	PartToolResult          // ID of the call, Parts, IsError
	PartReasoning           // of an assistant: Text, Signature; Data if it is encrypted or redacted
	PartRefusal             // of an assistant: Text
	PartOther               // a block that only its own vendor understands: Raw, whole
)

// Part is a piece of a message. Which fields count follows from Type.
type Part struct {
	Type PartType
	Text string

	Media *Media

	ID        string          // of a call, also in its result
	Name      string          // of the tool
	Arguments json.RawMessage // JSON object as the model wrote it, which may be broken; "" or nil is {}
	Parts     []Part          // of a result
	IsError   bool            // of a result: the tool failed

	Signature string // by which a vendor knows its own reasoning, or Gemini a call, again
	Data      string // of reasoning that may not be read: encrypted or redacted

	CacheControl json.RawMessage // {"type":"ephemeral","ttl":"5m"}: cache up to here
	Citations    json.RawMessage // annotations of a text, in the dialect's own form
	Raw          json.RawMessage // of PartOther
	Origin       string          // of PartOther, and of Citations: the dialect's name, as llm.Endpoint's String
}

// Media is a picture, a sound, a film or a document: by address, by id at the vendor, or itself.
type Media struct {
	URL    string
	FileID string
	Data   string // base64, standard alphabet with padding
	MIME   string // "image/png"; "" if it is not said
	Name   string // of the file
	Detail string // of an image: "low", "high", "auto"
}

// Tool is a function that the model may call, or a tool of the vendor's own.
type Tool struct {
	Name         string
	Description  string
	Parameters   json.RawMessage // JSON schema; nil: no parameters
	Strict       *bool
	CacheControl json.RawMessage
	// Kind is "" for a function. Another is a tool that the vendor runs, such as
	// "web_search"; Raw is then the whole entry as it came and Origin its dialect. A function
	// with a Raw takes a text in OpenAI's own dialects, and else {"input": text}.
	Kind   string
	Raw    json.RawMessage
	Origin string
}

// AnyStrict says that the arguments of a tool must keep to its schema.
func AnyStrict(tools []Tool) bool {
	return slices.ContainsFunc(tools, func(t Tool) bool { return t.Strict != nil && *t.Strict })
}

// ToolChoice says whether tools must be called.
type ToolChoice struct {
	Mode string   // "" as the model likes; "auto", "none", "required", "tool"
	Name string   // of the one for Mode "tool"
	Only []string // OpenAI's allowed tools: no others may be called; nil: all
}

// Format is what the answer must look like.
type Format struct {
	Type        string          // "" for text; "json_object", "json_schema"
	Name        string          // of the schema
	Description string          // of the schema
	Schema      json.RawMessage // of Type "json_schema"
	Strict      *bool
}

// InWords asks for the form in words, for a provider that cannot be bound to it; "" for a text.
func (f *Format) InWords() string {
	const object = "Answer with one JSON object and nothing else: no words around it and no code fence."
	switch {
	case f.Type == "json_schema" && len(f.Schema) > 0:
		return object + " It must be valid under this JSON schema: " + string(f.Schema)
	case f.Type == "json_object":
		return object
	}
	return ""
}

// Reasoning says how much the model should think.
type Reasoning struct {
	Effort  string // "none", "minimal", "low", "medium", "high", "xhigh", "max"; "": not said
	Budget  *int64 // tokens to think with; 0 switches thinking off, -1 leaves it to the model
	Summary string // "auto", "concise", "detailed": show a summary of it; "none": show nothing
	// Adaptive says that the model decides how long to think (Anthropic's "adaptive").
	Adaptive bool
	// Encrypted asks for reasoning that can be sent back (OpenAI's reasoning.encrypted_content).
	Encrypted bool
}

// Asked says whether the request says anything about reasoning.
func (r Reasoning) Asked() bool { return r.Effort != "" || r.Budget != nil || r.Adaptive }

// Off says whether it asks for none.
func (r Reasoning) Off() bool { return r.Effort == "none" || r.Budget != nil && *r.Budget == 0 }

// Text is all text of the parts, one after the other.
func Text(parts []Part) string {
	if len(parts) == 1 && parts[0].Type == PartText {
		return parts[0].Text
	}
	var b []byte
	for i := range parts {
		if parts[i].Type == PartText {
			b = append(b, parts[i].Text...)
		}
	}
	return string(b)
}

// SizeHint guesses how many bytes the request takes in a dialect's JSON, so that a writer copies
// its media once.
func (r *Request) SizeHint() int {
	n := 1 << 10
	for i := range r.Messages {
		n += 32 + sizeOf(r.Messages[i].Parts)
	}
	for i := range r.Tools {
		n += 200 + len(r.Tools[i].Description) + len(r.Tools[i].Parameters) + len(r.Tools[i].Raw)
	}
	return n
}

func sizeOf(parts []Part) (n int) {
	for i := range parts {
		p := &parts[i]
		n += 100 + len(p.Text) + len(p.Text)/16 + len(p.Arguments) + len(p.Signature) + len(p.Data) + len(p.Raw) + sizeOf(p.Parts)
		if p.Media != nil {
			n += len(p.Media.Data) + len(p.Media.URL)
		}
	}
	return n
}
