package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxBody is the largest body of a call or an answer: that of a command of the largest size.
const MaxBody = 8 << 20

// maxFrame leaves room for the method or the error around the body.
const maxFrame = MaxBody + 8<<10

// The kinds of frames.
const (
	frameCall   byte = 1 // id, timeout in ms (u32), method (u8 length), body
	frameAnswer byte = 2 // id, body
	frameError  byte = 3 // id, code (u8 length), text
)

// errFrame says that the other side does not speak the protocol.
var errFrame = errors.New("malformed frame")

// frame is one message of RPC. On the wire: u32 length of what follows, u8 kind, u64 id,
// then what the kind says. All numbers are big-endian.
type frame struct {
	kind    byte
	id      uint64
	timeout time.Duration // of a call
	name    string        // method of a call, code of an error
	body    []byte        // text of an error
}

// appendTo encodes f.
func (f *frame) appendTo(b []byte) ([]byte, error) {
	if len(f.body) > MaxBody {
		return nil, fmt.Errorf("body of %d bytes is over the limit of %d", len(f.body), MaxBody)
	}
	if len(f.name) > 255 {
		return nil, fmt.Errorf("name %q is too long", f.name)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0, f.kind)
	b = binary.BigEndian.AppendUint64(b, f.id)
	if f.kind == frameCall {
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(f.timeout.Milliseconds(), 1), 1<<31)))
	}
	if f.kind != frameAnswer {
		b = append(b, byte(len(f.name)))
		b = append(b, f.name...)
	}
	b = append(b, f.body...)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, nil
}

// readFrame reads one frame; io.EOF is a clean end.
func readFrame(r *bufio.Reader) (*frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 9 || n > maxFrame {
		return nil, fmt.Errorf("%w: length %d", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	return parseFrame(b)
}

// parseFrame decodes what follows the length; the frame keeps parts of b.
func parseFrame(b []byte) (*frame, error) {
	if len(b) < 9 {
		return nil, errFrame
	}
	f := &frame{kind: b[0], id: binary.BigEndian.Uint64(b[1:])}
	b = b[9:]
	if f.kind == frameCall {
		if len(b) < 4 {
			return nil, errFrame
		}
		f.timeout = time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond
		b = b[4:]
	}
	switch f.kind {
	case frameCall, frameError:
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return nil, errFrame
		}
		n := 1 + int(b[0])
		f.name, b = string(b[1:n]), b[n:]
	case frameAnswer:
	default:
		return nil, fmt.Errorf("%w: kind %d", errFrame, f.kind)
	}
	if len(b) > MaxBody {
		return nil, fmt.Errorf("%w: body of %d bytes", errFrame, len(b))
	}
	f.body = b
	return f, nil
}
