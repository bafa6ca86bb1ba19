package bedrock

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider/anthropic"
)

// versionMember is the member of a body that says that its words are Anthropic's messages.
const versionMember = "anthropic_version"

// IsAnthropic says whether a body of InvokeModel is in the words of Anthropic's messages.
func IsAnthropic(body []byte) bool { return llm.Has(body, versionMember) }

// others are parts of the names of models that do not understand Anthropic's words, beside families.
var others = [...]string{"titan", "llama", "jamba", "palmyra", "pegasus", "amazon.", "meta.", "ai21.", "stability.", "openai.", "google."}

// Invokes says whether a model is asked with InvokeModel in the words of the body: those of Anthropic no model
// of another maker understands. An ARN that does not name its model is believed.
func Invokes(model string, options map[string]string, body []byte) bool {
	if !IsAnthropic(body) {
		return true
	}
	switch familyOf(&llm.Target{Model: model, Options: options}).name {
	case "claude":
		return true
	case "":
		return !contains(cmp.Or(options["base_model"], model), others[:]...)
	}
	return false
}

// Invoked is what clients send to InvokeModel, as far as it can be said to others than Bedrock: Anthropic's
// messages without a model and without "stream". It implements provider.Inbound.
type Invoked struct{ anthropic.Format }

// DecodeRequest reads a request. The words of other makers are an *llm.Error of kind Invalid.
func (f Invoked) DecodeRequest(body []byte) (*chat.Request, error) {
	if !IsAnthropic(body) {
		return nil, &llm.Error{
			Kind: llm.Invalid, Code: "unsupported_body", Param: versionMember, NoRetry: true,
			Message: `Only a body of Anthropic's messages ("anthropic_version":"` + Version + `") can be sent to a model that is not at Bedrock. Use converse for others.`,
		}
	}
	req, err := f.Format.DecodeRequest(body)
	if err != nil {
		return nil, err
	}
	delete(req.Extra, versionMember)
	delete(req.Extra, "anthropic_beta") // as Bedrock has it, in the place of a header
	return req, nil
}

// NewEncoder writes one stream: the events of Anthropic's, each in a frame.
func (f Invoked) NewEncoder(req *chat.Request) chat.Encoder {
	return &invokedEncoder{events: f.Format.NewEncoder(req), start: time.Now()}
}

// invokedEncoder writes one stream of InvokeModelWithResponseStream.
type invokedEncoder struct {
	events chat.Encoder
	start  time.Time
	first  time.Duration // until the first event; 0: there was none
	usage  llm.Usage
	buf    []byte
}

// Encode appends the frames that a chunk makes.
func (e *invokedEncoder) Encode(dst []byte, c *chat.Chunk) []byte {
	if c.Type == chat.ChunkUsage {
		e.usage = c.Usage
	}
	e.buf = e.events.Encode(e.buf[:0], c)
	for rest := e.buf; len(rest) > 0; {
		n := llm.EventSize(rest)
		if _, data, ok := bytes.Cut(rest[:n], []byte("data: ")); ok {
			dst = e.frame(dst, bytes.TrimSpace(data))
		}
		rest = rest[n:]
	}
	return dst
}

// stopEvent is the last of Anthropic's.
const stopEvent = `{"type":"message_stop"}`

// frame appends an event in a frame; the last has Bedrock's metrics in it.
func (e *invokedEncoder) frame(dst, event []byte) []byte {
	if e.first == 0 {
		e.first = time.Since(e.start)
	}
	if string(event) == stopEvent {
		b := appendInt([]byte(event[:len(event)-1:len(event)-1]), `,"amazon-bedrock-invocationMetrics":{"inputTokenCount":`, e.usage.Input+e.usage.AudioInput+e.usage.ImageInput)
		b = appendInt(b, `,"outputTokenCount":`, e.usage.Completion())
		b = appendInt(b, `,"cacheReadInputTokenCount":`, e.usage.CacheRead+e.usage.CacheReadAudio+e.usage.CacheReadImage)
		b = appendInt(b, `,"cacheWriteInputTokenCount":`, e.usage.CacheWrite+e.usage.CacheWrite1h)
		b = appendInt(b, `,"invocationLatency":`, time.Since(e.start).Milliseconds())
		b = appendInt(b, `,"firstByteLatency":`, e.first.Milliseconds())
		event = append(b, "}}"...)
	}
	return AppendEvent(dst, "chunk", func(b []byte) []byte {
		b = base64.StdEncoding.AppendEncode(append(b, `{"bytes":"`...), event)
		return append(b, `"}`...)
	})
}

// The headers with which InvokeModel tells the usage of a whole answer.
const (
	headerInput      = "X-Amzn-Bedrock-Input-Token-Count"
	headerOutput     = "X-Amzn-Bedrock-Output-Token-Count"
	headerCacheRead  = "X-Amzn-Bedrock-Cache-Read-Input-Token-Count"
	headerCacheWrite = "X-Amzn-Bedrock-Cache-Write-Input-Token-Count"
)

// HeaderUsage is what an answer's headers tell of its usage; false: nothing.
func HeaderUsage(h http.Header) (u llm.Usage, ok bool) {
	for name, to := range map[string]*int64{headerInput: &u.Input, headerOutput: &u.Output, headerCacheRead: &u.CacheRead, headerCacheWrite: &u.CacheWrite} {
		n, err := strconv.ParseInt(h.Get(name), 10, 64)
		if err == nil && n >= 0 && n <= llm.MaxTokenCount {
			*to, ok = n, true
		}
	}
	if ok {
		u.Source = llm.UsageProvider
	}
	return u, ok
}

// SetHeaderUsage tells a usage as InvokeModel does.
func SetHeaderUsage(h http.Header, u *llm.Usage) {
	h[headerInput] = []string{strconv.FormatInt(u.Input+u.AudioInput+u.ImageInput, 10)}
	h[headerOutput] = []string{strconv.FormatInt(u.Completion(), 10)}
}

// readInvoked reads a whole answer of any maker's.
func readInvoked(body []byte) (llm.Report, error) {
	r := llm.Report{Seen: 1, Finished: 1}
	c := llm.NewCursor(body)
	if c.Next() != '{' {
		return llm.Report{}, malformed(errNoObject)
	}
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "__type" {
			r.HasError = c.Next() == '"'
		}
		c.Raw()
	}
	if err := c.End(); err != nil {
		return llm.Report{}, malformed(err)
	}
	r.Usage, r.HasUsage = llm.AnyUsage(body)
	c = llm.NewCursor(body)
	r.TextBytes = generated(&c, 0)
	return r, nil
}

// maxNested bounds how deep a text is looked for.
const maxNested = 16

// generated is the size of the texts that a model wrote, of a value in any maker's words.
func generated(c *llm.Cursor, depth int) (size int64) {
	next := c.Next()
	if depth > maxNested || next != '{' && next != '[' {
		c.Raw()
		return 0
	}
	for n := 0; next == '[' && c.Element(n); n++ {
		size += generated(c, depth+1)
	}
	for n := 0; next == '{' && c.Member(n); n++ {
		name := string(c.Name())
		switch value := c.Next(); name {
		case "text", "outputText", "generation", "completion", "content", "thinking", "reasoning_content", "partial_json", "arguments":
			if value == '"' {
				size += max(0, int64(len(c.Raw()))-2)
				continue
			}
		case "input": // of a tool
			size += int64(len(c.Raw()))
			continue
		}
		size += generated(c, depth+1)
	}
	return size
}

// invokedMeter reads the frames of a stream of InvokeModel, in any maker's words.
type invokedMeter struct {
	usage llm.AnyMeter
	data  []byte
}

// metricsMember is in the last event of a stream.
const metricsMember = "amazon-bedrock-invocationMetrics"

// Event reads one frame. Anthropic's streams end with message_stop, and all with Bedrock's metrics; those that
// have neither may end anywhere.
func (m *invokedMeter) Event(e llm.Event) (llm.Report, error) {
	r := llm.Report{Seen: 1}
	if isException(e.Type) {
		r.HasError = true
		return r, nil
	}
	data, typ, err := unwrap(m.data[:0], e.Data)
	if err != nil {
		return llm.Report{}, malformed(err)
	}
	if m.data = data; len(data) == 0 {
		return r, nil
	}
	c := llm.NewCursor(data)
	r.TextBytes = generated(&c, 0)
	r.Done = typ == "message_stop" || llm.Has(data, metricsMember)
	if r.Done || typ == "" {
		r.Finished = 1
	}
	r.Usage, r.HasUsage = m.usage.Add(data)
	return r, nil
}
