package gemini

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini/schema"
)

// decodeTools reads the tools. An entry may hold functions and tools of Google's own.
func decodeTools(req *chat.Request, tools []json.RawMessage) error {
	for i, raw := range tools {
		var entry map[string]json.RawMessage
		at := fmt.Sprintf("tools[%d]", i)
		if err := json.Unmarshal(raw, &entry); err != nil {
			return readError(at, err)
		}
		for _, name := range sortedKeys(entry) {
			if name == "functionDeclarations" {
				if err := decodeFunctions(req, entry[name], at+".functionDeclarations"); err != nil {
					return err
				}
				continue
			}
			one, err := json.Marshal(map[string]json.RawMessage{name: entry[name]})
			if err != nil {
				return readError(at, err)
			}
			req.Tools = append(req.Tools, chat.Tool{Kind: kindOf(name), Raw: one, Origin: origin})
		}
	}
	return nil
}

// vendorTools are Google's own tools in the words of OpenAI.
var vendorTools = map[string]string{
	"googleSearch": "web_search", "googleSearchRetrieval": "web_search", "enterpriseWebSearch": "web_search",
	"codeExecution": "code_interpreter", "urlContext": "web_fetch", "computerUse": "computer_use", "fileSearch": "file_search",
}

func kindOf(name string) string {
	if k, ok := vendorTools[name]; ok {
		return k
	}
	return name
}

func decodeFunctions(req *chat.Request, raw json.RawMessage, at string) error {
	var list []struct {
		Name                 string          `json:"name"`
		Description          string          `json:"description"`
		Parameters           json.RawMessage `json:"parameters"`
		ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return readError(at, err)
	}
	for i, f := range list {
		if f.Name == "" {
			return invalid(fmt.Sprintf("%s[%d].name", at, i), "%s[%d] has no name.", at, i)
		}
		wanted := f.ParametersJSONSchema
		if !given(wanted) && given(f.Parameters) {
			var err error
			if wanted, err = schema.JSON(f.Parameters); err != nil {
				return readError(fmt.Sprintf("%s[%d].parameters", at, i), err)
			}
		}
		req.Tools = append(req.Tools, chat.Tool{Name: f.Name, Description: f.Description, Parameters: wanted})
	}
	return nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func decodeChoice(req *chat.Request, c *toolConfig) error {
	if c == nil || c.FunctionCallingConfig == nil {
		return nil
	}
	f := c.FunctionCallingConfig
	switch strings.ToUpper(f.Mode) {
	case "", "MODE_UNSPECIFIED":
		return nil
	case "AUTO", "VALIDATED":
		req.ToolChoice = chat.ToolChoice{Mode: "auto"}
	case "NONE":
		req.ToolChoice = chat.ToolChoice{Mode: "none"}
	case "ANY":
		req.ToolChoice = chat.ToolChoice{Mode: "required"}
		if len(f.AllowedFunctionNames) == 1 {
			req.ToolChoice = chat.ToolChoice{Mode: "tool", Name: f.AllowedFunctionNames[0]}
			return nil
		}
	default:
		return invalid("toolConfig.functionCallingConfig.mode", "toolConfig.functionCallingConfig.mode must be AUTO, ANY, NONE or VALIDATED.")
	}
	req.ToolChoice.Only = f.AllowedFunctionNames
	return nil
}

// decodeConfig reads generationConfig.
func decodeConfig(req *chat.Request, c *generationConfig) error {
	if c == nil {
		return nil
	}
	if c.MaxOutputTokens < 0 || c.CandidateCount < 0 || c.Logprobs < 0 {
		return invalid("generationConfig", "maxOutputTokens, candidateCount and logprobs must not be negative.")
	}
	req.MaxTokens, req.N = min(int64(c.MaxOutputTokens), llm.MaxTokenCount), int64(c.CandidateCount)
	req.Temperature, req.TopP, req.Stop = c.Temperature, c.TopP, c.StopSequences
	req.PresencePenalty, req.FrequencyPenalty = c.PresencePenalty, c.FrequencyPenalty
	req.LogProbs, req.TopLogProbs = c.ResponseLogprobs, int64(c.Logprobs)
	if c.TopK != nil {
		k := int64(*c.TopK)
		req.TopK = &k
	}
	if c.Seed != nil {
		n := int64(*c.Seed)
		req.Seed = &n
	}
	for _, m := range c.ResponseModalities {
		if m = strings.ToLower(m); m != "modality_unspecified" {
			req.Modalities = append(req.Modalities, m)
		}
	}
	req.Audio = decodeSpeech(c.SpeechConfig)
	if err := decodeFormat(req, c); err != nil {
		return err
	}
	return decodeThinking(req, c.ThinkingConfig)
}

func decodeFormat(req *chat.Request, c *generationConfig) (err error) {
	wanted := c.ResponseJSONSchema
	if !given(wanted) {
		wanted = c.OldJSONSchema
	}
	if !given(wanted) && given(c.ResponseSchema) {
		if wanted, err = schema.JSON(c.ResponseSchema); err != nil {
			return readError("generationConfig.responseSchema", err)
		}
	}
	switch {
	case given(wanted):
		req.Format = chat.Format{Type: "json_schema", Name: "response", Schema: wanted}
	case c.ResponseMIMEType == "application/json":
		req.Format.Type = "json_object"
	}
	return nil
}

func decodeThinking(req *chat.Request, t *thinkingConfig) error {
	if t == nil {
		return nil
	}
	req.Reasoning.Summary = "none"
	if t.IncludeThoughts {
		req.Reasoning.Summary = "auto"
	}
	if t.ThinkingBudget != nil {
		n := int64(*t.ThinkingBudget)
		req.Reasoning.Budget = &n
	}
	switch level := strings.ToLower(t.ThinkingLevel); level {
	case "", "thinking_level_unspecified":
	case "minimal", "low", "medium", "high":
		req.Reasoning.Effort = level
	default:
		return invalid("generationConfig.thinkingConfig.thinkingLevel", "thinkingLevel must be MINIMAL, LOW, MEDIUM or HIGH.")
	}
	return nil
}

// decodeSpeech is OpenAI's "audio" of a speechConfig with one voice; nil for any other, which
// stays as it is.
func decodeSpeech(raw json.RawMessage) json.RawMessage {
	var s struct {
		VoiceConfig struct {
			Prebuilt struct {
				VoiceName string `json:"voiceName"`
			} `json:"prebuiltVoiceConfig"`
		} `json:"voiceConfig"`
		Multi json.RawMessage `json:"multiSpeakerVoiceConfig"`
	}
	if !given(raw) || json.Unmarshal(raw, &s) != nil || s.VoiceConfig.Prebuilt.VoiceName == "" || given(s.Multi) || strings.Contains(string(raw), "languageCode") {
		return nil
	}
	return append(llm.AppendString([]byte(`{"format":"pcm16","voice":`), s.VoiceConfig.Prebuilt.VoiceName), '}')
}
