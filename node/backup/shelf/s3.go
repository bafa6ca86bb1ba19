package shelf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	maxObject  = 5 << 30 // that one request may store
	maxList    = 16 << 20
	maxProblem = 4 << 10
	slowest    = 1 << 20 // bytes a second below which an upload is given up
	patience   = time.Minute
)

// emptyDigest is the SHA-256 of nothing.
var emptyDigest = hex.EncodeToString(sha256.New().Sum(nil))

// S3 is a shelf in a bucket of an S3-compatible store.
type S3 struct {
	URL    string // of the bucket
	Prefix string // of the names
	// Sign adds the signature to a request whose body has a SHA-256.
	Sign func(ctx context.Context, r *http.Request, digest string) error
	HTTP *http.Client
}

// do makes a request and answers with what a good answer has.
func (s *S3) do(ctx context.Context, method, key string, query url.Values, body io.Reader, size int64, digest string) (*http.Response, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	if key != "" {
		u = u.JoinPath(key)
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if req.ContentLength = size; size == 0 {
		req.Body = http.NoBody
	}
	if err := s.Sign(ctx, req, digest); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	res, err := s.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, problem(res)
}

// problem says what a store says.
func problem(res *http.Response) error {
	if res.StatusCode == http.StatusNotFound && res.Request.Method == http.MethodGet && res.Request.URL.RawQuery == "" {
		return ErrNotFound
	}
	var said struct {
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // the status is what counts
	if xml.Unmarshal(text, &said) != nil || said.Code == "" {
		return fmt.Errorf("%s answered %s", res.Request.URL.Host, res.Status)
	}
	return fmt.Errorf("%s answered %s: %s: %s", res.Request.URL.Host, res.Status, said.Code, said.Message)
}

// Put keeps the file's bytes under the name. The store checks their SHA-256.
func (s *S3) Put(ctx context.Context, name string, from *os.File, size int64) error {
	if size > maxObject {
		return tooLarge(size)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, from); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(size/slowest)*time.Second)
	defer cancel()
	res, err := s.do(ctx, http.MethodPut, s.Prefix+name, nil, io.NopCloser(from), size, hex.EncodeToString(sum.Sum(nil)))
	if err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	if res.Header.Get("ETag") == "" { // as from a console of the store at another port, which answers 200 to everything
		err = fmt.Errorf("keep snapshot: %s answers as no S3 store does: without an ETag", res.Request.URL.Host)
	}
	return errors.Join(err, res.Body.Close())
}

// Try asks for one name of the bucket, with the credential that Put has.
func (s *S3) Try(ctx context.Context, size int64) error {
	if size > maxObject {
		return tooLarge(size)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := s.page(ctx, url.Values{"list-type": {"2"}, "max-keys": {"1"}, "prefix": {s.Prefix + "conclave-"}}); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	return nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("keep snapshot: %d bytes are more than the %d that a store takes at once; use dir", size, int64(maxObject))
}

// listing is a page of a bucket's names.
type listing struct {
	XMLName  xml.Name `xml:"ListBucketResult"` // anything else is no list
	Contents []struct {
		Key  string `xml:"Key"`
		Size int64  `xml:"Size"`
	} `xml:"Contents"`
	Truncated bool   `xml:"IsTruncated"`
	Next      string `xml:"NextContinuationToken"`
}

// List lists the backups.
func (s *S3) List(ctx context.Context) ([]Item, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out []Item
	query := url.Values{"list-type": {"2"}, "prefix": {s.Prefix + "conclave-"}}
	for {
		page, err := s.page(ctx, query)
		if err != nil {
			return nil, fmt.Errorf("list snapshots: %w", err)
		}
		for _, c := range page.Contents {
			if i, ok := Parse(strings.TrimPrefix(c.Key, s.Prefix)); ok {
				i.Size = c.Size
				out = append(out, i)
			}
		}
		if !page.Truncated || page.Next == "" {
			return out, nil
		}
		query.Set("continuation-token", page.Next)
	}
}

func (s *S3) page(ctx context.Context, query url.Values) (listing, error) {
	res, err := s.do(ctx, http.MethodGet, "", query, nil, 0, emptyDigest)
	if err != nil {
		return listing{}, err
	}
	defer func() { _ = res.Body.Close() }()
	return readListing(res.Body)
}

// readListing reads a page.
func readListing(r io.Reader) (listing, error) {
	var out listing
	if err := xml.NewDecoder(io.LimitReader(r, maxList)).Decode(&out); err != nil {
		return listing{}, fmt.Errorf("read the list: %w", err)
	}
	return out, nil
}

// Open opens a backup.
func (s *S3) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if _, ok := Parse(name); !ok {
		return nil, ErrNotFound
	}
	res, err := s.do(ctx, http.MethodGet, s.Prefix+name, nil, nil, 0, emptyDigest)
	if errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return res.Body, nil
}

// Delete deletes a backup.
func (s *S3) Delete(ctx context.Context, name string) error {
	if _, ok := Parse(name); !ok {
		return ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := s.do(ctx, http.MethodDelete, s.Prefix+name, nil, nil, 0, emptyDigest)
	if err != nil {
		return fmt.Errorf("delete snapshot: %w", err)
	}
	return res.Body.Close()
}
