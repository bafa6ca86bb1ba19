package chat

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
)

// Response is a whole answer.
type Response struct {
	ID      string // at the provider; "": a writer makes one
	Model   string // that answered, as the provider names it
	Created int64  // seconds since 1970; 0: unknown
	Choices []Choice
	Usage   llm.Usage // Source is UsageNone if the provider reported none
	Tier    string    // of service, as OpenAI names it
	// Extra holds members that the reader does not know, for a writer of the same family.
	Extra map[string]json.RawMessage
}

// Choice is one of the answers.
type Choice struct {
	Index    int
	Parts    []Part // texts, reasoning, calls of tools, media, refusals
	Finish   Finish
	StopText string          // the stop sequence that was met, where the provider says
	LogProbs json.RawMessage // OpenAI's object; nil: none
	Extra    map[string]json.RawMessage
}

// Finish is why a model stopped.
type Finish uint8

// The reasons.
const (
	FinishNone     Finish = iota // it has not
	FinishStop                   // it was done, or met a stop sequence
	FinishLength                 // it met the maximum of output
	FinishTools                  // it calls tools
	FinishFilter                 // a filter of the vendor's stopped it
	FinishRefusal                // it refused
	FinishPause                  // the vendor paused a long turn, to be sent back as it is
	FinishOverflow               // the context was full
)

// String is OpenAI's finish_reason.
func (f Finish) String() string {
	switch f {
	case FinishNone:
		return ""
	case FinishLength, FinishOverflow:
		return "length"
	case FinishTools:
		return "tool_calls"
	case FinishFilter:
		return "content_filter"
	}
	return "stop"
}

// FinishOf reads OpenAI's finish_reason. What it does not know is FinishStop.
func FinishOf(name string) Finish {
	switch name {
	case "":
		return FinishNone
	case "length", "max_tokens":
		return FinishLength
	case "tool_calls", "function_call", "tool_use":
		return FinishTools
	case "content_filter":
		return FinishFilter
	}
	return FinishStop
}
