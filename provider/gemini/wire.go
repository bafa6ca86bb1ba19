package gemini

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

// origin is the name of the dialect in chat's parts.
const origin = "generate_content"

// request is the body of generateContent, with its names in camel case.
type request struct {
	Contents          []wireContent     `json:"contents"`
	SystemInstruction *wireContent      `json:"systemInstruction"`
	Tools             []json.RawMessage `json:"tools"`
	ToolConfig        *toolConfig       `json:"toolConfig"`
	GenerationConfig  *generationConfig `json:"generationConfig"`
	ServiceTier       string            `json:"serviceTier"`
}

// wireContent is one turn. A request's contents may also be a bare string or a part, which some
// clients send for an instruction.
type wireContent struct {
	Role  string
	Parts []json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *wireContent) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		c.Parts = []json.RawMessage{json.RawMessage(`{"text":` + string(data) + `}`)}
		return nil
	}
	var full struct {
		Role  string          `json:"role"`
		Parts json.RawMessage `json:"parts"`
		Text  *string         `json:"text"`
	}
	if err := json.Unmarshal(data, &full); err != nil {
		return err
	}
	c.Role = full.Role
	switch {
	case full.Text != nil && len(full.Parts) == 0:
		c.Parts = []json.RawMessage{data}
	case len(full.Parts) > 0 && full.Parts[0] == '{': // protobuf's JSON takes one element for a list
		c.Parts = []json.RawMessage{full.Parts}
	case len(full.Parts) > 0:
		return json.Unmarshal(full.Parts, &c.Parts)
	}
	return nil
}

// wirePart is one part of a turn.
type wirePart struct {
	Text             *string       `json:"text"`
	Thought          bool          `json:"thought"`
	ThoughtSignature string        `json:"thoughtSignature"`
	InlineData       *blob         `json:"inlineData"`
	FileData         *fileData     `json:"fileData"`
	FunctionCall     *functionCall `json:"functionCall"`
	FunctionResponse *functionResp `json:"functionResponse"`
}

type blob struct {
	MIMEType    string `json:"mimeType"`
	Data        string `json:"data"`
	DisplayName string `json:"displayName"`
}

type fileData struct {
	MIMEType    string `json:"mimeType"`
	FileURI     string `json:"fileUri"`
	DisplayName string `json:"displayName"`
}

type functionCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type functionResp struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Response json.RawMessage   `json:"response"`
	Parts    []json.RawMessage `json:"parts"`
}

type toolConfig struct {
	FunctionCallingConfig *struct {
		Mode                 string   `json:"mode"`
		AllowedFunctionNames []string `json:"allowedFunctionNames"`
	} `json:"functionCallingConfig"`
}

// generationConfig are the members that every dialect knows; the others go to Extra.
type generationConfig struct {
	CandidateCount     flexInt         `json:"candidateCount"`
	StopSequences      []string        `json:"stopSequences"`
	MaxOutputTokens    flexInt         `json:"maxOutputTokens"`
	Temperature        *float64        `json:"temperature"`
	TopP               *float64        `json:"topP"`
	TopK               *float64        `json:"topK"`
	Seed               *flexInt        `json:"seed"`
	ResponseMIMEType   string          `json:"responseMimeType"`
	ResponseSchema     json.RawMessage `json:"responseSchema"`
	ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
	OldJSONSchema      json.RawMessage `json:"_responseJsonSchema"`
	PresencePenalty    *float64        `json:"presencePenalty"`
	FrequencyPenalty   *float64        `json:"frequencyPenalty"`
	ResponseLogprobs   bool            `json:"responseLogprobs"`
	Logprobs           flexInt         `json:"logprobs"`
	ResponseModalities []string        `json:"responseModalities"`
	SpeechConfig       json.RawMessage `json:"speechConfig"`
	ThinkingConfig     *thinkingConfig `json:"thinkingConfig"`
}

// configNames are the members of generationConfig above.
var configNames = map[string]bool{
	"candidateCount": true, "stopSequences": true, "maxOutputTokens": true, "temperature": true, "topP": true, "topK": true, "seed": true,
	"responseMimeType": true, "responseSchema": true, "responseJsonSchema": true, "_responseJsonSchema": true, "presencePenalty": true,
	"frequencyPenalty": true, "responseLogprobs": true, "logprobs": true, "responseModalities": true, "speechConfig": true, "thinkingConfig": true,
}

type thinkingConfig struct {
	IncludeThoughts bool     `json:"includeThoughts"`
	ThinkingBudget  *flexInt `json:"thinkingBudget"`
	ThinkingLevel   string   `json:"thinkingLevel"`
}

// flexInt is a whole number, which protobuf's JSON may also hold in a string.
type flexInt int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *flexInt) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != float64(int64(f)) {
			return &json.UnmarshalTypeError{Value: "number " + text, Type: intType}
		}
		v = int64(f)
	}
	*n = flexInt(v)
	return nil
}

// intType is named in the error of what is no whole number.
var intType = reflect.TypeFor[int64]()

// unquote gives the text of a JSON string; "" for any other value.
func unquote(v []byte) string {
	c := llm.NewCursor(v)
	return c.Text()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
