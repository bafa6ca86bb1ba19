// Package media reads requests of OpenAI's form for speech, transcriptions and pictures, and writes
// their answers, for providers that have forms of their own.
package media

import (
	"encoding/base64"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/llm/speech"
)

// DecodeSpeech reads a client's request for speech.
func DecodeSpeech(body []byte) (*speech.Request, error) {
	r, req := jsonread.New(body), new(speech.Request)
	r.Members(func(name string) {
		switch name {
		case "model":
			req.Model = r.Str()
		case "input":
			req.Input = r.Str()
		case "voice":
			req.Voice = voice(&r)
		case "response_format":
			req.Format = r.Str()
		case "speed":
			if v := r.Number(); v != nil {
				req.Speed = *v
			}
		case "instructions":
			req.Instructions = r.Str()
		case "stream_format":
			switch word := r.Str(); word {
			case "", "audio":
			case "sse":
				req.Events = true
			default:
				r.Wrong("must be audio or sse")
			}
		default:
			keep(&r, &req.Extra, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	if req.Input == "" {
		return nil, jsonread.Invalid("input", "must be a text that is not empty")
	}
	return req, nil
}

// voice takes a voice: its name, or an object with its id.
func voice(r *jsonread.Reader) (name string) {
	if r.Next() != '{' {
		return r.Str()
	}
	r.Object(func(member string) {
		if member == "id" {
			name = r.Str()
		} else {
			r.Raw()
		}
	})
	return name
}

// keep keeps a member that only some vendors know.
func keep(r *jsonread.Reader, extra *[]llm.Member, name string) {
	if slices.Contains(llm.OwnFields(), name) || name == "user" {
		r.Raw()
		return
	}
	if raw := r.Copy(); raw != nil {
		*extra = append(*extra, llm.Member{Name: name, Value: raw})
	}
}

// AppendAudio appends the event of some audio.
func AppendAudio(dst, audio []byte) []byte {
	data := []byte(`{"type":"speech.audio.delta","audio":"`)
	data = append(base64.StdEncoding.AppendEncode(data, audio), '"', '}')
	return llm.AppendEvent(dst, "", data)
}

// AppendAudioDone appends the event that ends audio.
func AppendAudioDone(dst []byte, u llm.Usage) []byte {
	data := appendTokens([]byte(`{"type":"speech.audio.done","usage":{`), u)
	return llm.AppendEvent(dst, "", append(data, '}', '}'))
}

// appendTokens appends the members of a usage in tokens.
func appendTokens(dst []byte, u llm.Usage) []byte {
	dst = strconv.AppendInt(llm.AppendKey(dst, "input_tokens"), u.Prompt(), 10)
	dst = strconv.AppendInt(llm.AppendKey(dst, "output_tokens"), u.Completion(), 10)
	return strconv.AppendInt(llm.AppendKey(dst, "total_tokens"), u.Total(), 10)
}
