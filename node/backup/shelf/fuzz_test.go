package shelf

import (
	"bytes"
	"testing"
)

func FuzzReadListing(f *testing.F) {
	f.Add([]byte(`<ListBucketResult><Contents><Key>conclave-c-20260101T000000Z-g0-i1.snap</Key><Size>3</Size></Contents><IsTruncated>true</IsTruncated></ListBucketResult>`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = readListing(bytes.NewReader(b)) })
}
