package modelserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

var errNull = errors.New("read the plugin's answer: there is null where an object belongs")

// asChunk makes the one chunk of a stream out of a whole chat completion: each choice's message is its delta.
// Members that it does not know stay as they are.
func asChunk(body []byte) ([]byte, error) {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the plugin's answer: %w", err)
	}
	if answer == nil {
		return nil, errNull
	}
	answer["object"] = json.RawMessage(`"chat.completion.chunk"`)
	var choices []map[string]json.RawMessage
	if raw, ok := answer["choices"]; ok {
		if err := json.Unmarshal(raw, &choices); err != nil {
			return nil, fmt.Errorf("read choices of the plugin's answer: %w", err)
		}
	}
	for _, c := range choices {
		if c == nil {
			return nil, errNull
		}
		delta, err := asDelta(c["message"])
		if err != nil {
			return nil, err
		}
		c["delta"] = delta
		delete(c, "message")
	}
	var err error
	if answer["choices"], err = json.Marshal(choices); err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// asDelta numbers the calls of tools in a message, as chunks have them.
func asDelta(message json.RawMessage) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(message, &m); err != nil || m["tool_calls"] == nil {
		if err != nil {
			err = fmt.Errorf("read a message of the plugin's answer: %w", err)
		}
		return message, err
	}
	var calls []map[string]json.RawMessage
	if err := json.Unmarshal(m["tool_calls"], &calls); err != nil {
		return nil, fmt.Errorf("read tool_calls of the plugin's answer: %w", err)
	}
	for i, c := range calls {
		if c == nil {
			return nil, errNull
		}
		c["index"] = json.RawMessage(strconv.Itoa(i))
	}
	var err error
	if m["tool_calls"], err = json.Marshal(calls); err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
