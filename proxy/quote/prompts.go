package quote

import "encoding/json"

// prompts counts the prompts of a completions request, each of which is completed: a list of
// strings or of lists of tokens is as many as it is long, anything else is one.
func prompts(body []byte) int64 {
	var request struct {
		Prompt json.RawMessage `json:"prompt"`
	}
	var list []json.RawMessage
	if json.Unmarshal(body, &request) != nil || len(request.Prompt) == 0 || request.Prompt[0] != '[' ||
		json.Unmarshal(request.Prompt, &list) != nil || len(list) == 0 {
		return 1
	}
	if first := list[0][0]; first != '"' && first != '[' {
		return 1
	}
	return int64(len(list))
}
