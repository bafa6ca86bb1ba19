package vendors

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/providertest"
)

type object = map[string]any

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// event is a server-sent event of data alone.
func event(v any) []byte { return llm.AppendEvent(nil, "", marshal(v)) }

// said is what a vendor that knows one text says, whole or in a piece of a stream.
type said struct {
	text   string
	so     string // all of the text so far
	last   bool   // it is all, or the end
	finish chat.Finish
	usage  llm.Usage
}

// reason is the word of a vendor's for why a text ended.
func (s *said) reason(stop, length string) string {
	if s.finish == chat.FinishLength {
		return length
	}
	return stop
}

// text is a script of a vendor that knows one text.
type text struct {
	answer func(*said) any
	piece  func(*said) []byte // nil: it does not stream
}

// Answer implements providertest.Script.
func (s text) Answer(r *chat.Response) []byte {
	ch := &r.Choices[0]
	t := chat.Text(ch.Parts)
	return marshal(s.answer(&said{text: t, so: t, last: true, finish: ch.Finish, usage: r.Usage}))
}

// Stream implements providertest.Script.
func (s text) Stream(chunks []chat.Chunk) (events [][]byte) {
	var end said
	for i := range chunks {
		switch c := &chunks[i]; c.Type {
		case chat.ChunkText:
			end.so += c.Text
			events = append(events, s.piece(&said{text: c.Text, so: end.so}))
		case chat.ChunkFinish:
			end.finish = c.Finish
		case chat.ChunkUsage:
			end.usage = c.Usage
		case chat.ChunkEnd:
			end.last = true
			if b := s.piece(&end); len(b) > 0 {
				events = append(events, b)
			}
		}
	}
	return events
}

// tgi is Hugging Face's text generation inference, in SageMaker's frames.
var tgi = text{
	answer: func(s *said) any {
		return []object{{"generated_text": s.text, "details": details(s)}}
	},
	piece: func(s *said) []byte {
		v := object{"index": 1, "token": object{"id": 7, "text": s.text, "logprob": -0.5, "special": s.last}, "generated_text": nil, "details": nil}
		if s.last {
			v["token"].(object)["text"] = "</s>"
			v["generated_text"], v["details"] = s.so, details(s)
		}
		return payload(string(event(v)))
	},
}

func details(s *said) object {
	return object{"finish_reason": s.reason("eos_token", "length"), "generated_tokens": s.usage.Completion(), "input_length": s.usage.Prompt(), "seed": nil}
}

// texts are vendors and servers that know one text: those that stream it, and the others.
func texts() []*providertest.Format { return append(streamingTexts(), wholeTexts()...) }

func streamingTexts() []*providertest.Format {
	project := map[string]string{"project_id": "p"}
	return []*providertest.Format{
		{
			Provider: "triton", Endpoint: llm.TritonChat, Finishes: stops, Failure: `data: {"error":"it failed"}` + "\n\n",
			Script: text{
				answer: func(s *said) any { return object{"model_name": "model", "model_version": "1", "text_output": s.text} },
				piece: func(s *said) []byte {
					if s.last {
						return nil
					}
					return event(object{"model_name": "model", "model_version": "1", "text_output": s.text})
				},
			},
			Lacks: without(textOnly(), uncounted("the generate extension has none"), because("the generate extension has none", providertest.Ends)),
		},
		{
			Provider: "watsonx_text", Endpoint: llm.WatsonxText, Options: project, Finishes: lengths, Failure: `data: {"errors":[{"code":"x","message":"it failed"}]}` + "\n\n",
			Script: text{
				answer: func(s *said) any { return generated(s, s.reason("eos_token", "max_tokens")) },
				piece: func(s *said) []byte {
					if s.last {
						s.text = ""
						return event(generated(s, s.reason("eos_token", "max_tokens")))
					}
					return event(generated(s, "not_finished"))
				},
			},
			Lacks: textOnly(),
		},
		{
			Provider: "anthropic_text", Endpoint: llm.AnthropicComplete, Finishes: lengths,
			Failure: "event: error\n" + `data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}` + "\n\n",
			Script: text{
				answer: func(s *said) any { return completion(s, s.reason("stop_sequence", "max_tokens")) },
				piece: func(s *said) []byte {
					if s.last {
						s.text = ""
						return llm.AppendEvent(nil, "completion", marshal(completion(s, s.reason("stop_sequence", "max_tokens"))))
					}
					return llm.AppendEvent(nil, "completion", marshal(completion(s, nil)))
				},
			},
			Lacks: without(textOnly(), uncounted("it counts in headers of other endpoints alone")),
		},
	}
}

func wholeTexts() []*providertest.Format {
	return []*providertest.Format{
		{
			Provider: "replicate", Model: "meta/llama-3", Endpoint: llm.ReplicateChat, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{
					"id": "p1", "status": "succeeded", "output": []string{s.text}, "error": nil,
					"metrics": object{"input_token_count": s.usage.Prompt(), "output_token_count": s.usage.Completion()},
				}
			}},
			Lacks: without(textOnly(), whole("a stream has an address of its own, and predictions are asked for")),
		},
		{
			Provider: "nlp_cloud", Endpoint: llm.NLPCloudChat, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{"generated_text": s.text, "nb_input_tokens": s.usage.Prompt(), "nb_generated_tokens": s.usage.Completion()}
			}},
			Lacks: without(textOnly(), whole("its streams are bare text"), because("it knows one end of a text", providertest.Stops)),
		},
		{
			Provider: "aleph_alpha", Endpoint: llm.AlephAlphaChat, Finishes: lengths,
			Script: text{answer: func(s *said) any {
				return object{
					"model_version": "1", "completions": []object{{"completion": s.text, "finish_reason": s.reason("end_of_text", "maximum_tokens")}},
					"num_tokens_prompt_total": s.usage.Prompt(), "num_tokens_generated": s.usage.Completion(),
				}
			}},
			Lacks: without(textOnly(), whole("not all versions have streams")),
		},
		{
			Provider: "bytez", Model: "google/gemma", Endpoint: llm.BytezChat, Finishes: stops,
			Script: text{answer: func(s *said) any {
				return object{"error": nil, "output": object{"role": "assistant", "content": []object{{"type": "text", "text": s.text}}}}
			}},
			Lacks: without(textOnly(), whole("its streams are bare text"), uncounted("it counts no tokens"), because("it has none", providertest.Stops)),
		},
		{
			Provider: "petals", Endpoint: llm.PetalsGenerate, Finishes: stops,
			Script: text{answer: func(s *said) any { return object{"ok": true, "outputs": s.text} }},
			Lacks: without(textOnly(), whole("its streams are WebSockets"), uncounted("it counts no tokens"),
				because("it has none", providertest.Stops), because("requests are forms", providertest.JSON)),
		},
	}
}

func generated(s *said, reason string) object {
	r := object{"generated_text": s.text, "stop_reason": reason}
	if s.last {
		r["input_token_count"], r["generated_token_count"] = s.usage.Prompt(), s.usage.Completion()
	}
	return object{"model_id": "model", "created_at": "2026-01-02T03:04:05.000Z", "results": []object{r}}
}

func completion(s *said, reason any) object {
	return object{"type": "completion", "id": "compl_1", "completion": s.text, "stop_reason": reason, "model": "model"}
}
