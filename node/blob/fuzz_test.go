package blob

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func FuzzParsePart(f *testing.F) {
	size := func(n uint64, body ...byte) []byte { return append(binary.BigEndian.AppendUint64(nil, n), body...) }
	f.Add([]byte{})
	f.Add(size(0))
	f.Add(size(3, 'a', 'b', 'c'))
	f.Add(size(2, 'a', 'b', 'c'))
	f.Add(size(1<<63, 'a'))
	f.Add(size(resource.MaxBlobBytes, 'a'))
	f.Fuzz(func(t *testing.T, answer []byte) {
		part, size, err := parsePart(answer)
		if err != nil {
			return
		}
		if size > resource.MaxBlobBytes || uint64(len(part)) > size || !bytes.Equal(part, answer[8:]) {
			t.Errorf("%x gives %d bytes of %d", answer, len(part), size)
		}
	})
}
