package providertest

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
)

// Format is a dialect as the suite needs it.
type Format struct {
	Endpoint llm.Endpoint
	// Provider is a row of the table that is asked at the endpoint, and Model, "" for "model", and Options
	// are of a deployment there.
	Provider, Model string
	Options         map[string]string
	// Script writes what a vendor answers; nil: the half that clients speak with does.
	Script Script
	// Lacks are what the dialect has no words for, each with what the vendor has in its place, or why
	// there is nothing.
	Lacks map[Lack]string
	// Finishes are the reasons that an answer can give; nil: stop, length and tools.
	Finishes []chat.Finish
	// Failure is the bytes of an event, as they are sent, that tells of an error; "" where the dialect
	// lacks Failures.
	Failure string

	in      provider.Inbound // nil: clients do not speak it
	out     provider.Outbound
	row     *provider.Provider
	divides bool // where its events begin and end is to be checked, which is not that of others
}

// Script writes what a vendor answers.
type Script interface {
	// Answer is the body of a whole answer.
	Answer(r *chat.Response) []byte
	// Stream is the same as a stream, as it is sent: one element for each event. The last marks
	// the end, where the dialect has such a mark.
	Stream(chunks []chat.Chunk) [][]byte
}

// Mirror is a script of the half of a dialect that speaks to clients.
func Mirror(in provider.Inbound) Script { return mirror{in} }

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

// Vendor is the script of what the vendor answers.
func (f *Format) Vendor() Script {
	if f.Script != nil {
		return f.Script
	}
	in, _ := provider.InboundOf(f.Endpoint)
	return Mirror(in)
}

// Lacking says whether the dialect lacks something.
func (f *Format) Lacking(l Lack) bool { return f.lacks(l) }

func (f *Format) lacks(l Lack) bool { _, ok := f.Lacks[l]; return ok }

// target is what requests are written for.
func (f *Format) target() *llm.Target {
	return &llm.Target{Model: f.model(), MaxOutput: 4096, Options: f.Options}
}

func (f *Format) model() string { return cmp.Or(f.Model, "model") }

// complete fills in what follows from the endpoint and the row, and checks the rest.
func (f *Format) complete(t *testing.T) {
	t.Helper()
	var ok, known bool
	if f.out, ok = provider.OutboundOf(f.Endpoint); !ok {
		t.Fatalf("%s is no endpoint at which conversations are said to providers", f.Endpoint)
	}
	if f.row, known = provider.Lookup(f.Provider); !known || !f.row.Serves(f.Endpoint) {
		t.Fatalf("%q is no row that serves %s", f.Provider, f.Endpoint)
	}
	f.in, _ = provider.InboundOf(f.Endpoint)
	f.Script = f.Vendor()
	if f.Finishes == nil {
		f.Finishes = []chat.Finish{chat.FinishStop, chat.FinishLength, chat.FinishTools}
	}
	for l, why := range f.Lacks {
		if why == "" {
			t.Errorf("nobody says why it lacks %d", l)
		}
	}
	if (f.Failure == "") != (f.lacks(Failures) || f.lacks(Streams)) {
		t.Error("its streams tell of errors, or it says why not")
	}
}

// Conversation checks a dialect of conversations: that requests say what is meant and can be read
// again, that answers are read, whole and streamed, however their bytes come, that they are measured as
// they are read, and that nothing broken passes for whole.
func Conversation(t *testing.T, f *Format) {
	t.Helper()
	f.complete(t)
	f.divides = true
	t.Run("requests", func(t *testing.T) { requests(t, f) })
	if f.in != nil {
		t.Run("broken requests", func(t *testing.T) { brokenRequests(t, f) })
	}
	list := answers(f)
	for i, a := range list {
		t.Run("answer "+a.name, func(t *testing.T) {
			whole(t, f, a.res)
			if !f.lacks(Streams) {
				streams(t, f, finishLast(chat.Chunks(nil, a.res)), i == f.richest(list))
			}
		})
	}
	t.Run("broken answers", func(t *testing.T) { broken(t, f) })
	if f.lacks(Streams) {
		return
	}
	t.Run("interleaved calls", func(t *testing.T) { interleaved(t, f) })
	if f.Failure != "" {
		t.Run("failures", func(t *testing.T) { failures(t, f) })
	}
	t.Run("large events", func(t *testing.T) { large(t, f) })
}

// Answers checks of a dialect what concerns the row that is asked: that its codec divides, measures and ends the
// answers as their reader does, and that errors are found.
func Answers(t *testing.T, f *Format) {
	t.Helper()
	f.complete(t)
	f.divides = f.row.Codec.Frames(f.Endpoint, strings.NewReader(""), 0) != nil
	for _, a := range answers(f) {
		whole(t, f, a.res)
		if !f.lacks(Streams) {
			streams(t, f, finishLast(chat.Chunks(nil, a.res)), false)
		}
	}
	if f.Failure != "" {
		failures(t, f)
	}
}

// richest is the answer that has the most to say: a text and calls, if the dialect has them.
func (f *Format) richest(list []answer) (at int) {
	for i := range list {
		if len(list[i].res.Choices[0].Parts) > len(list[at].res.Choices[0].Parts) {
			at = i
		}
	}
	return at
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
