package body_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/body"
)

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Bytes()
}

func zstandard(t testing.TB, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll([]byte(text), nil)
}

// decode reads all that a body is without its compression.
func decode(encoding string, r io.Reader) (string, error) {
	d, err := body.Decode(encoding, r)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Close() }()
	raw, err := io.ReadAll(d)
	return string(raw), err
}

func TestDecode(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("hello there ", 10_000)
	for range 3 { // decoders are used again
		for encoding, raw := range map[string][]byte{"gzip": zipped(text), "X-GZIP": zipped(text), " zstd ": zstandard(t, text)} {
			if got, err := decode(encoding, iotest.OneByteReader(bytes.NewReader(raw))); err != nil || got != text {
				t.Errorf("%s: got %d bytes, %v", encoding, len(got), err)
			}
		}
	}
}

// TestDecode_Bad: what is wrong with a body is told as the client's fault; what broke on its way as what it is.
func TestDecode_Bad(t *testing.T) {
	t.Parallel()
	const text = `{"model":"m"}`
	for name, tt := range map[string]struct {
		encoding string
		raw      []byte
		code     string
	}{
		"another":     {"br", []byte(text), "unsupported_content_encoding"},
		"two":         {"gzip, zstd", zipped(text), "unsupported_content_encoding"},
		"no gzip":     {"gzip", []byte(text), "invalid_content_encoding"},
		"no zstd":     {"zstd", []byte(text), "invalid_content_encoding"},
		"cut gzip":    {"gzip", zipped(text)[:20], "invalid_content_encoding"},
		"cut zstd":    {"zstd", zstandard(t, text)[:10], "invalid_content_encoding"},
		"no gzip yet": {"gzip", nil, "invalid_content_encoding"},
		// a frame that looks 64 MiB back
		"a wide window": {"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x80, 0x01, 0x00, 0x00}, "invalid_content_encoding"},
	} {
		_, err := decode(tt.encoding, bytes.NewReader(tt.raw))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Invalid || e.Code != tt.code {
			t.Errorf("%s: got %v, want %s", name, err, tt.code)
		}
	}
	gone := errors.New("gone")
	for encoding, raw := range map[string][]byte{"gzip": zipped(text), "zstd": zstandard(t, text)} {
		if _, err := decode(encoding, io.MultiReader(bytes.NewReader(raw[:5]), iotest.ErrReader(gone))); !errors.Is(err, gone) {
			t.Errorf("%s, whose client went away: %v", encoding, err)
		}
	}
}

// TestPool_compressed: a small body that becomes a large one is refused where it reaches the limit.
func TestPool_compressed(t *testing.T) {
	t.Parallel()
	bomb := zstandard(t, strings.Repeat("\x00", 64<<20))
	if len(bomb) > 64<<10 {
		t.Fatalf("%d bytes are no bomb", len(bomb))
	}
	d, err := body.Decode("zstd", bytes.NewReader(bomb))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	_, err = body.NewPool(0).Read(d, -1, 1<<20)
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.TooLarge {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode: no body makes a decoder panic, or says anything but what is wrong with it.
func FuzzDecode(f *testing.F) {
	f.Add("gzip", zipped("hello"))
	f.Add("zstd", zstandard(f, "hello"))
	f.Fuzz(func(t *testing.T, encoding string, raw []byte) {
		d, err := body.Decode(encoding, bytes.NewReader(raw))
		if err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(d, 1<<20))
			_ = d.Close()
		}
		if e, ok := errors.AsType[*llm.Error](err); err != nil && (!ok || e.Kind != llm.Invalid) {
			t.Fatalf("%s %x: %v", encoding, raw, err)
		}
	})
}
