package media

import (
	"fmt"
	"strconv"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/jsonread"
	"github.com/conclave-llm/conclave/llm/transcript"
)

// DecodeTranscript reads the text fields of a client's form for a transcription. The file is its
// caller's to add.
func DecodeTranscript(fields []byte) (*transcript.Request, error) {
	r, req := jsonread.New(fields), new(transcript.Request)
	r.Members(func(name string) {
		switch name {
		case "model":
			req.Model = r.Str()
		case "language":
			req.Language = r.Str()
		case "prompt":
			req.Prompt = r.Str()
		case "response_format":
			req.Format = r.Str()
		case "temperature":
			req.Temperature = number(&r)
		case "timestamp_granularities":
			for _, word := range r.Strs() {
				req.Words = req.Words || word == "word"
				req.Segments = req.Segments || word == "segment"
			}
		case "stream":
			req.Stream = r.True()
		default:
			keep(&r, &req.Extra, name)
		}
	})
	if err := r.Finish(); err != nil {
		return nil, err
	}
	switch req.Format {
	case "", "json", "text", "srt", "vtt", "verbose_json":
		return req, nil
	}
	return nil, jsonread.Invalid("response_format", "must be json, text, srt, vtt or verbose_json")
}

// number takes a number that may stand in a string, as it does in a form.
func number(r *jsonread.Reader) string {
	text := string(r.Next())
	if text == `"` {
		text = r.Str()
	} else {
		text = string(r.Raw())
	}
	if text == "" || text == "null" {
		return ""
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		r.Wrong("must be a number")
		return ""
	}
	return text
}

// EncodeTranscript writes the answer to a client, and its content type.
func EncodeTranscript(req *transcript.Request, res *transcript.Response) (body []byte, kind string) {
	switch {
	case req.Stream:
		return appendTranscriptEvents(nil, res), "text/event-stream"
	case req.Format == "text":
		return append([]byte(res.Text), '\n'), "text/plain; charset=utf-8"
	case req.Format == "srt":
		return subtitles(nil, res, ","), "text/plain; charset=utf-8"
	case req.Format == "vtt":
		return subtitles([]byte("WEBVTT\n\n"), res, "."), "text/vtt; charset=utf-8"
	case req.Format == "verbose_json":
		return verbose(req, res), ""
	}
	dst := llm.AppendString([]byte(`{"text":`), res.Text)
	return append(appendHeard(dst, res.Usage), '}'), ""
}

// appendHeard appends the usage of audio: its seconds, or tokens where there are some.
func appendHeard(dst []byte, u llm.Usage) []byte {
	switch {
	case u.Units.InputMS > 0:
		seconds := (u.Units.InputMS + 999) / 1000
		dst = strconv.AppendInt(append(llm.AppendKey(dst, "usage"), `{"type":"duration","seconds":`...), seconds, 10)
	case u.Total() > 0:
		dst = appendTokens(append(llm.AppendKey(dst, "usage"), `{"type":"tokens"`...), u)
	default:
		return dst
	}
	return append(dst, '}')
}

func appendTranscriptEvents(dst []byte, res *transcript.Response) []byte {
	delta := llm.AppendString([]byte(`{"type":"transcript.text.delta","delta":`), res.Text)
	dst = llm.AppendEvent(dst, "", append(delta, '}'))
	done := llm.AppendString([]byte(`{"type":"transcript.text.done","text":`), res.Text)
	return llm.AppendEvent(dst, "", append(appendHeard(done, res.Usage), '}'))
}

// subtitles writes SubRip's and WebVTT's, which differ in the point of their numbers.
func subtitles(dst []byte, res *transcript.Response, point string) []byte {
	for i, s := range res.Parts() {
		if point == "," {
			dst = fmt.Appendf(dst, "%d\n", i+1)
		}
		dst = fmt.Appendf(dst, "%s --> %s\n%s\n\n", clock(s.Start, point), clock(s.End, point), s.Text)
	}
	return dst
}

func clock(seconds float64, point string) string {
	ms := int64(seconds*1000 + 0.5)
	return fmt.Sprintf("%02d:%02d:%02d%s%03d", ms/3600000, ms/60000%60, ms/1000%60, point, ms%1000)
}

func verbose(req *transcript.Request, res *transcript.Response) []byte {
	task := `{"task":"transcribe","language":`
	if req.English {
		task = `{"task":"translate","language":`
	}
	dst := llm.AppendString([]byte(task), res.Language)
	dst = appendSeconds(llm.AppendKey(dst, "duration"), res.Duration)
	dst = llm.AppendString(llm.AppendKey(dst, "text"), res.Text)
	if req.Words {
		dst = append(llm.AppendKey(dst, "words"), '[')
		for _, w := range res.Words {
			dst = llm.AppendString(append(llm.AppendComma(dst), `{"word":`...), w.Text)
			dst = appendTimes(dst, w.Start, w.End)
		}
		dst = append(dst, ']')
	}
	if req.Segments || !req.Words {
		dst = append(llm.AppendKey(dst, "segments"), '[')
		for i, s := range res.Parts() {
			dst = strconv.AppendInt(append(llm.AppendComma(dst), `{"id":`...), int64(i), 10)
			dst = llm.AppendString(llm.AppendKey(dst, "text"), s.Text)
			dst = appendTimes(dst, s.Start, s.End)
		}
		dst = append(dst, ']')
	}
	return append(appendHeard(dst, res.Usage), '}')
}

func appendTimes(dst []byte, start, end float64) []byte {
	dst = appendSeconds(llm.AppendKey(dst, "start"), start)
	return append(appendSeconds(llm.AppendKey(dst, "end"), end), '}')
}

func appendSeconds(dst []byte, seconds float64) []byte {
	return strconv.AppendFloat(dst, seconds, 'f', -1, 64)
}
