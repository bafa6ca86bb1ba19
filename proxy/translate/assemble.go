package translate

import (
	"bytes"
	"errors"
	"io"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chat"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
)

// maxAssembled bounds one event of a stream that is put together, in bytes.
const maxAssembled = 32 << 20

// Assembler returns what makes a whole answer in the endpoint's dialect of the events of a whole stream, as they
// came; nil if answers of the dialect are no conversations. Errors are *llm.Error, for a stream that is cut or that
// tells of an error.
func Assembler(e llm.Endpoint) func(events [][]byte) ([]byte, error) {
	in, read := provider.InboundOf(e)
	out, written := provider.OutboundOf(e)
	if !read || !written {
		return nil
	}
	return func(events [][]byte) ([]byte, error) {
		src := bytes.NewReader(bytes.Join(events, nil))
		next := llm.NewSSEReader(src, maxAssembled).Next
		if e == llm.Converse {
			next = bedrock.NewReader(src, maxAssembled).Next
		}
		res, err := collect(out.NewDecoder(), next)
		if err != nil {
			return nil, err
		}
		return in.EncodeResponse(&chat.Request{}, res)
	}
}

// collect reads a stream to its end.
func collect(dec chat.Decoder, next func() (llm.Event, error)) (*chat.Response, error) {
	var all chat.Collector
	var chunks []chat.Chunk
	for over := false; !over; {
		ev, err := next()
		switch {
		case errors.Is(err, io.EOF):
			over = true
			chunks, err = dec.End(chunks[:0])
		case err == nil:
			chunks, err = dec.Decode(chunks[:0], ev)
		}
		if err != nil {
			return nil, err
		}
		for i := range chunks {
			over = over || chunks[i].Type == chat.ChunkEnd
			all.Add(&chunks[i])
		}
	}
	return all.Response(), nil
}
