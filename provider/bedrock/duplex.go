package bedrock

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// What a stream that goes both ways has (InvokeModelWithBidirectionalStream): events of the type chunk, whose payload
// holds the model's own message, and which the caller signs one after the other, each in a frame of its own.
const (
	EventChunk  = "chunk"
	typeBytes   = 6
	typeTime    = 8
	headerDate  = ":date"
	headerProof = ":chunk-signature"
)

// AppendChunk appends an event with a message.
func AppendChunk(dst, message []byte) []byte {
	return AppendEvent(dst, EventChunk, func(b []byte) []byte {
		b = append(b, `{"bytes":"`...)
		return append(base64.StdEncoding.AppendEncode(b, message), `"}`...)
	})
}

// AppendBytes appends an event of a type whose payload is bytes of any kind.
func AppendBytes(dst []byte, typ string, payload []byte) []byte {
	return appendFrameOf(dst, "event", ":event-type", typ, "application/octet-stream", func(b []byte) []byte { return append(b, payload...) })
}

// AppendSigned appends a frame that holds another, or nothing at the end of a stream, with its signature, which sign
// makes of the frame's headers and the payload.
func AppendSigned(dst []byte, at time.Time, payload []byte, sign func(headers, payload []byte) ([]byte, error)) ([]byte, error) {
	headers := append([]byte{byte(len(headerDate))}, headerDate...)
	headers = binary.BigEndian.AppendUint64(append(headers, typeTime), uint64(at.UnixMilli()))
	proof, err := sign(headers, payload)
	if err != nil {
		return dst, err
	}
	headers = append(append(headers, byte(len(headerProof))), headerProof...)
	headers = binary.BigEndian.AppendUint16(append(headers, typeBytes), uint16(len(proof)))
	headers = append(headers, proof...)
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(frameSize+len(headers)+len(payload)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(headers)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	dst = append(append(dst, headers...), payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:])), nil
}

var errChunk = errors.New("it is no chunk")

// Chunk is the message of an event. Errors are *llm.Error of kind Upstream.
func Chunk(e *llm.Event) ([]byte, error) {
	var got struct {
		Bytes []byte `json:"bytes"`
	}
	err := json.Unmarshal(e.Data, &got)
	if err == nil && string(e.Type) != EventChunk {
		err = errChunk
	}
	if err != nil {
		return nil, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: "The provider sent an event that cannot be read.", Err: err}
	}
	return got.Bytes, nil
}

// IsException says whether an event is one.
func IsException(e *llm.Event) bool { return isException(e.Type) }

// Frame cuts the first of some frames off; ok is false if there is none that is whole.
func Frame(frames []byte) (first, rest []byte, ok bool) {
	if len(frames) < frameSize {
		return nil, frames, false
	}
	n := int64(binary.BigEndian.Uint32(frames))
	if n < frameSize || n > int64(len(frames)) {
		return nil, frames, false
	}
	return frames[:n], frames[n:], true
}
