package providertest

import (
	"slices"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
)

// Lack is something that a dialect has no words for, so that it is not looked for.
type Lack uint8

// What dialects may lack.
const (
	CallIDs      Lack = iota // calls of tools have no ids, or others
	Reasoning                // answers have no reasoning
	SentThoughts             // requests have no reasoning
	Signatures               // reasoning has no signatures
	Redacted                 // reasoning that may not be read
	Refusals                 // refusals are no parts of their own
	Choices                  // there is one choice only
	ImageURLs                // images by their address
	Images                   // images at all
	Audio                    // of a request
	Files                    // of a request
	ToolErrors               // results of tools do not say that they failed
	ToolImages               // results of tools hold texts only
	Tools                    // tools at all
	Choose                   // a tool cannot be chosen
	Schemas                  // answers cannot be bound to a schema
	Stops                    // stop sequences
	Usages                   // answers report no usage
	Caches                   // usage does not tell what a cache held
	Thoughts                 // usage does not tell tokens of reasoning
	Heads                    // answers have no id, or do not name the model
	Turns                    // a request is one text
	CacheWrites              // usage does not tell what was written to a cache
	OpenSchemas              // schemas lose what the vendor has no word for, such as additionalProperties
	NamedTypes               // media at an address need a type, which is made of it
)

// Format is a dialect as the suite needs it.
type Format struct {
	In       provider.Inbound  // nil: clients do not speak it
	Out      provider.Outbound // nil: providers do not speak it
	Codec    provider.Codec    // splits its streams; nil: server-sent events
	Endpoint llm.Endpoint
	// Script writes what a vendor answers; nil: In does.
	Script Script
	Lacks  []Lack
	// Finishes are the reasons that an answer can give; nil: stop, length and tools.
	Finishes []chat.Finish
	// Failure is the bytes of an event, as they are sent, that tells of an error; "" for none.
	Failure string
}

// Script writes what a vendor answers.
type Script interface {
	// Answer is the body of a whole answer.
	Answer(r *chat.Response) []byte
	// Stream is the same as a stream, as it is sent: one element for each event. The last marks
	// the end, where the dialect has such a mark.
	Stream(chunks []chat.Chunk) [][]byte
}

// mirror makes a script of the half that speaks to clients.
type mirror struct{ in provider.Inbound }

func (m mirror) request() *chat.Request {
	return &chat.Request{Model: "model", Stream: true, IncludeUsage: true, Tools: []chat.Tool{{Name: "look"}, {Name: "count"}}}
}

// Answer implements Script.
func (m mirror) Answer(r *chat.Response) []byte {
	b, err := m.in.EncodeResponse(m.request(), r)
	if err != nil {
		panic(err)
	}
	return b
}

// Stream implements Script.
func (m mirror) Stream(chunks []chat.Chunk) (events [][]byte) {
	enc := m.in.NewEncoder(m.request())
	for i := range chunks {
		if b := enc.Encode(nil, &chunks[i]); len(b) > 0 {
			events = append(events, b)
		}
	}
	return events
}

func (f *Format) lacks(l Lack) bool { return slices.Contains(f.Lacks, l) }

// Conversation checks a dialect of conversations: that requests say what is meant and can be read
// again, that answers are read, whole and streamed, however their bytes come, and that nothing
// broken passes for whole.
func Conversation(t *testing.T, f *Format) {
	t.Helper()
	if f.Script == nil && f.In != nil {
		f.Script = mirror{f.In}
	}
	if f.Finishes == nil {
		f.Finishes = []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools}
	}
	t.Run("requests", func(t *testing.T) { requests(t, f) })
	if f.In != nil {
		t.Run("broken requests", func(t *testing.T) { brokenRequests(t, f) })
	}
	if f.Out == nil {
		return
	}
	for _, a := range answers(f) {
		t.Run("answer "+a.name, func(t *testing.T) {
			t.Parallel()
			whole(t, f, a.res)
			streams(t, f, finishLast(chat.Chunks(nil, a.res)))
		})
	}
	t.Run("interleaved calls", func(t *testing.T) {
		t.Parallel()
		interleaved(t, f)
	})
	t.Run("broken answers", func(t *testing.T) {
		t.Parallel()
		broken(t, f)
	})
	if f.Failure != "" {
		t.Run("failures", func(t *testing.T) {
			t.Parallel()
			failures(t, f)
		})
	}
}

// finishLast puts the ends of choices behind all their parts, as vendors do, who make all choices
// at once.
func finishLast(chunks []chat.Chunk) []chat.Chunk {
	slices.SortStableFunc(chunks, func(a, b chat.Chunk) int { return stage(&a) - stage(&b) })
	return chunks
}

func stage(c *chat.Chunk) int {
	switch c.Type {
	case chat.ChunkFinish:
		return 1
	case chat.ChunkUsage, chat.ChunkEnd:
		return 2
	}
	return 0
}
