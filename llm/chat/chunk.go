package chat

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/llm"
)

// ChunkType is what a Chunk adds.
type ChunkType uint8

// The types of chunks, in the order in which they come. A stream is ChunkStart, then parts, and
// for each choice one ChunkFinish; ChunkUsage may stand anywhere and the last one counts; ChunkEnd
// is the last. Parts of one choice do not overlap, except calls of tools, whose ChunkToolArgs name
// their call by Index.
const (
	ChunkStart     ChunkType = iota // ID, Model, Created
	ChunkText                       // Text goes on
	ChunkReasoning                  // Text of reasoning goes on
	ChunkSignature                  // Text is the signature that closes the reasoning before it, or that belongs to call Index if ID is set
	ChunkRedacted                   // Text is a block of reasoning that may not be read (Part.Data)
	ChunkRefusal                    // Text of a refusal goes on
	ChunkToolStart                  // a call begins: Index, ID, Name
	ChunkToolArgs                   // Text of the arguments of call Index goes on
	ChunkMedia                      // Media, whole or the next piece of its Data (same MIME): an image or audio, with the Text that is spoken and the vendor's ID
	ChunkCitations                  // Raw: annotations of the text before; Origin
	ChunkLogProbs                   // Raw: OpenAI's logprobs object for the text of the chunk before
	ChunkOther                      // Raw: a block that only its own vendor understands; Origin
	ChunkFinish                     // Finish of the choice, StopText
	ChunkUsage                      // Usage so far
	ChunkPing                       // nothing: the provider keeps the connection alive
	ChunkEnd                        // the stream is whole
)

// Chunk is one step of a streamed answer. Which fields count follows from Type.
type Chunk struct {
	Type     ChunkType
	Choice   int
	Index    int // of the call among those of the choice, from 0
	Text     string
	ID       string
	Name     string
	Model    string
	Created  int64
	Finish   Finish
	StopText string
	Usage    llm.Usage
	Tier     string // with ChunkUsage: of service
	Media    *Media
	Raw      json.RawMessage
	Origin   string
}

// A Decoder reads the events of a provider's stream. It is made for one stream.
type Decoder interface {
	// Decode appends to list what the event adds. The chunks do not refer to the event's bytes.
	// An event that cannot be read, or that tells of an error, is an *llm.Error. The Decoder
	// makes ChunkEnd of what marks the end in its dialect.
	Decode(list []Chunk, e llm.Event) ([]Chunk, error)
	// End is told that the provider's bytes have ended regularly, for dialects whose end is no
	// event. It appends what is still owed, or returns an *llm.Error if the stream was cut.
	End(list []Chunk) ([]Chunk, error)
}

// An Encoder writes a stream for a client. It is made for one stream.
type Encoder interface {
	// Encode appends to dst the bytes of the events that the chunk makes, which may be none.
	// The events that end a stream are made of ChunkEnd.
	Encode(dst []byte, c *Chunk) []byte
}
