package body

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/conclave-llm/conclave/llm"
)

// maxWindow is how far back a compressed body may look, which is held in memory: what RFC 8878 wants
// every decoder to take.
const maxWindow = 8 << 20

// decoders are those of bodies in zstd, which are worth keeping.
var decoders sync.Pool // of *zstd.Decoder

// Decode reads a body as it is without the compression that a header Content-Encoding names: gzip or
// zstd. Errors are *llm.Error, but for those of Read that are the body's own, which are returned as they
// are. The caller ends with Close.
func Decode(encoding string, body io.Reader) (io.ReadCloser, error) {
	src := &source{Reader: body}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bufio.NewReader(src))
		if err != nil {
			return nil, broken(src.explained(err))
		}
		return &decoded{Reader: z, src: src, close: func() { _ = z.Close() }}, nil
	case "zstd":
		z, _ := decoders.Get().(*zstd.Decoder)
		if z == nil {
			var err error
			if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
				return nil, err
			}
		}
		if err := z.Reset(src); err != nil {
			return nil, broken(src.explained(err))
		}
		return &decoded{Reader: z, src: src, close: func() {
			if z.Reset(nil) == nil {
				decoders.Put(z)
			}
		}}, nil
	}
	return nil, &llm.Error{
		Kind: llm.Invalid, Status: http.StatusUnsupportedMediaType, Code: "unsupported_content_encoding",
		Message: "A request body may be compressed with gzip or zstd, and with nothing else.",
	}
}

// source is the body that is decompressed. It notes why it ended, unless that was its end.
type source struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explained is the body's own error, or that it is not what its header says.
func (s *source) explained(err error) error {
	if s.err != nil {
		return s.err
	}
	return &llm.Error{
		Kind: llm.Invalid, Code: "invalid_content_encoding", Message: "The request body is not compressed as its Content-Encoding says, or is cut.", Err: err,
	}
}

// decoded is a body without its compression.
type decoded struct {
	io.Reader
	src   *source
	close func()
}

// Read implements io.Reader.
func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.src.explained(err)
	}
	return n, err
}

// Close ends the use of the decoder, not of the body.
func (d *decoded) Close() error {
	d.close()
	return nil
}
