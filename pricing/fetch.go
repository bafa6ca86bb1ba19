package pricing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
)

// MaxFile is the largest file of prices that is read.
const MaxFile = 64 << 20

// Doer sends a request. *http.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Fetched is a file that was downloaded.
type Fetched struct {
	Data        []byte
	ETag        string
	NotModified bool // the file is the one with the ETag that was given
}

// Fetch downloads a file of prices of at most MaxFile bytes. etag is of the answer before, "" for
// none.
func Fetch(ctx context.Context, client Doer, url, etag string) (*Fetched, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("download prices: %w", err)
	}
	req.Header.Set("Accept", "application/json, text/csv;q=0.9, */*;q=0.1")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("download prices: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	switch {
	case resp.StatusCode == http.StatusNotModified && etag != "":
		return &Fetched{ETag: etag, NotModified: true}, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("download prices: %s answers %s", req.URL.Host, resp.Status)
	case resp.ContentLength > MaxFile:
		return nil, fmt.Errorf("download prices: %d bytes are more than %d", resp.ContentLength, int64(MaxFile))
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("download prices: %w", err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("download prices: the file is larger than %d bytes", int64(MaxFile))
	}
	return &Fetched{Data: data, ETag: resp.Header.Get("ETag")}, nil
}

// Sum is the SHA-256 of a file, hexadecimal.
func Sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
