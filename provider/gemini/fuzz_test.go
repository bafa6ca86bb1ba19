package gemini_test

import (
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/gemini"
)

// FuzzDecodeRequest reads requests of any kind: what is read can be written again.
func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"contents":[{"role":"user","parts":[{"text":"hi"},{"inline_data":{"mime_type":"image/png","data":"aGk"}}]}],"generation_config":{"max_output_tokens":"9"}}`))
	f.Add([]byte(`{"contents":{"parts":{"text":"x"}},"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]},{"googleSearch":{}}],"systemInstruction":"be kind"}`))
	f.Add([]byte(`{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":null},"thoughtSignature":"c2ln"}]},{"parts":[{"functionResponse":{"name":"f","response":{"output":1}}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := gemini.Dialect{}.DecodeRequest(body)
		if err != nil {
			return
		}
		if _, err := (gemini.Dialect{}).EncodeRequest(req, &llm.Target{Model: "gemini-2.5-pro"}); err != nil {
			t.Skip() // it may be empty
		}
	})
}

// FuzzDecoder reads events of any kind: none makes the decoder panic, and one that fails adds no
// regular end.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"candidates":[{"content":{"parts":[{"text":"a","thought":true},{"functionCall":{"name":"f"}}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1}}`))
	f.Add([]byte(`{"promptFeedback":{"blockReason":"SAFETY"}}`))
	f.Add([]byte(`{"error":{"code":503,"status":"UNAVAILABLE"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := gemini.Dialect{}.NewDecoder()
		list, err := d.Decode(nil, llm.Event{Data: data})
		for i := range list {
			if list[i].Type == chat.ChunkEnd {
				t.Errorf("an event ends the stream: %s", data)
			}
		}
		if err != nil {
			return
		}
		_, _ = d.End(nil)
		_, _ = gemini.Dialect{}.DecodeResponse(data)
	})
}
