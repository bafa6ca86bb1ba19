package segment

import (
	"fmt"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// encodeWindow is how far back the compression of a page looks. The pages are small, and the
// encoders of parquet-go, which look back 4 MiB, take twice that each.
const encodeWindow = 128 << 10

// compression is zstd with one small encoder for a whole segment.
type compression struct {
	zstd.Codec // reads
	encoder    *kzstd.Encoder
}

func newCompression() (*compression, error) {
	e, err := kzstd.NewWriter(nil,
		kzstd.WithEncoderLevel(kzstd.SpeedFastest), kzstd.WithEncoderConcurrency(1),
		kzstd.WithWindowSize(encodeWindow), kzstd.WithLowerEncoderMem(true),
		kzstd.WithZeroFrames(true), kzstd.WithEncoderCRC(false),
	)
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	return &compression{encoder: e}, nil
}

// Encode implements parquet-go's codec.
func (c *compression) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}
